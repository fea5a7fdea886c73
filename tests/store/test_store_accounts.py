"""The same Stripe id in another account, or at another provider, is another row and is never taken for ours."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, insert

from gateway.store import customers, disputes, drift, last_good, prices
from gateway.store.columns import metadata
from gateway.tiers.model import LastGoodTier

OTHER = "acct_other"
GOOD = LastGoodTier("sub_1", "cus_1", "pro", "price_1", True, None, "active")


def _ours(conn: Connection) -> None:
    customers.add(conn, "skai", "u1", "cus_1", None, 100)
    prices.record(conn, "price_1", "skai", "pro", None, 100)
    last_good.replace_all(conn, "skai", "u1", {"sub_1": GOOD}, 100)
    disputes.record_event(conn, "dp_1", "dispute", "cus_1", "skai", "u1", 100)


def _theirs(conn: Connection) -> None:
    """The same ids in another account, of another user."""
    common = {"account": OTHER, "app_id": "studio", "user_id": "u9"}
    rows: dict[str, dict[str, Any]] = {
        "customers": {"customer_id": "cus_1", "created_at": 200},
        "prices": {"price_id": "price_1", "tier": "plus", "seen_at": 200},
        "last_good_tiers": {
            "subscription_id": "sub_1", "customer_id": "cus_1", "tier": "plus", "gives": True, "status": "active",
            "updated_at": 200,
        },
        "disputes": {
            "object_id": "dp_1", "kind": "dispute", "customer_id": "cus_1", "remembered_at": 200, "wanted": 7,
            "open": False, "found": "",
        },
    }  # fmt: skip
    for name, values in rows.items():
        table = metadata.tables[name]
        row = {key: value for key, value in (common | values).items() if key in table.c}
        conn.execute(insert(table), row)


@pytest.mark.parametrize("first", [_ours, _theirs])
def test_the_same_id_in_two_accounts_is_two_rows(conn: Connection, first: Any) -> None:
    first(conn)
    (_theirs if first is _ours else _ours)(conn)
    owner = customers.owner(conn, "cus_1")
    assert owner is not None
    assert (owner.app_id, owner.user_id) == ("skai", "u1")
    assert drift.of_customers(conn, ["cus_1"])["cus_1"].user_id == "u1"
    assert list(drift.known_after(conn, "", 10)) == ["cus_1"]
    assert prices.known(conn)["price_1"].tier == "pro"
    assert last_good.of_user(conn, "skai", "u1") == {"sub_1": GOOD}
    [dispute] = disputes.of_user(conn, "skai", "u1")
    assert (dispute.object_id, dispute.wanted, dispute.open) == ("dp_1", 1, True)


def test_a_change_of_ours_leaves_the_other_account_alone(conn: Connection) -> None:
    _ours(conn)
    _theirs(conn)
    before = _rows_of_other_account(conn)
    customers.mark_deleted(conn, "cus_1", 300)
    prices.record(conn, "price_1", "skai", "enterprise", "key", 300)
    last_good.replace_all(conn, "skai", "u1", {}, 300)
    [dispute] = disputes.of_user(conn, "skai", "u1")
    disputes.record_event(conn, "dp_1", "dispute", "cus_1", "skai", "u1", 300)
    disputes.record_answer(conn, dispute, {"status": "won"}, still_open=False)
    assert _rows_of_other_account(conn) == before


def _rows_of_other_account(conn: Connection) -> list[object]:
    names = ("customers", "prices", "last_good_tiers", "disputes")
    tables = [metadata.tables[name] for name in names]
    return [row for table in tables for row in conn.execute(table.select().where(table.c.account == OTHER)).all()]
