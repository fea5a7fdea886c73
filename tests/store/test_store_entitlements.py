"""The last decided entitlement of each user, and its history."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from gateway.store import entitlements
from gateway.tiers.model import Concern, Entitlement, Reason

FREE = Entitlement("free", Reason.DEFAULT, "default")
PRO = Entitlement(
    tier="pro",
    reason=Reason.GRACE,
    source="subscription",
    status="past_due",
    customer_id="cus_1",
    subscription_id="sub_1",
    price_id="price_1",
    upcoming_changes=((500, "plus"), (900, "free")),
    ends_at=900,
    concerns=(Concern("unknown_price", "price_9", 'the price "price_9" is no tier\'s'),),
)


def _save(conn: Connection, entitlement: Entitlement, now: int, user_id: str = "u1") -> entitlements.Change | None:
    return entitlements.save(conn, "skai", user_id, entitlement, now)


def _stored(conn: Connection) -> entitlements.Stored:
    stored = entitlements.get(conn, "skai", "u1")
    assert stored is not None
    return stored


@pytest.mark.parametrize("entitlement", [FREE, PRO], ids=["plain", "all fields"])
def test_an_entitlement_is_read_as_it_was_saved(conn: Connection, entitlement: Entitlement) -> None:
    assert entitlements.get(conn, "skai", "u1") is None
    _save(conn, entitlement, 100)
    assert _stored(conn) == entitlements.Stored("skai", "u1", entitlement, version=1, changed_at=100, updated_at=100)


def test_a_change_of_tier_is_recorded_once_with_its_reason(conn: Connection) -> None:
    first = _save(conn, PRO, 100)
    assert first is not None
    assert (first.from_tier, first.to_tier, first.reason, first.at) == (None, "pro", Reason.GRACE, 100)
    assert _save(conn, PRO, 150) is None
    second = _save(conn, replace(FREE, reason=Reason.CANCELED), 200)
    assert second is not None
    assert (second.from_tier, second.to_tier, second.reason) == ("pro", "free", Reason.CANCELED)
    assert first.change_id != second.change_id
    assert entitlements.changes(conn, "skai", "u1", 10) == [second, first]
    assert entitlements.changes(conn, "skai", "u1", 1) == [second]
    assert entitlements.changes(conn, "skai", "u2", 10) == []


def test_the_default_tier_of_a_new_user_is_no_change(conn: Connection) -> None:
    assert _save(conn, FREE, 100) is None
    assert entitlements.changes(conn, "skai", "u1", 10) == []
    change = _save(conn, PRO, 200)
    assert change is not None
    assert change.from_tier == "free"


def test_the_version_counts_what_an_app_can_see(conn: Connection) -> None:
    _save(conn, PRO, 100)
    _save(conn, PRO, 110)
    assert _stored(conn).version == 1
    _save(conn, replace(PRO, concerns=()), 120)
    assert (_stored(conn).version, _stored(conn).entitlement.concerns) == (1, ())
    _save(conn, replace(PRO, ends_at=901), 130)
    assert (_stored(conn).version, _stored(conn).changed_at, _stored(conn).updated_at) == (2, 100, 130)
    _save(conn, replace(PRO, tier="plus"), 140)
    assert (_stored(conn).version, _stored(conn).changed_at) == (3, 140)


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_pages_contain_every_entitlement_with_its_next_change(conn: Connection, limit: int) -> None:
    _save(conn, PRO, 100, "u1")
    _save(conn, FREE, 100, "u2")
    _save(conn, PRO, 100, "U3")
    entitlements.save(conn, "other", "u4", PRO, 100)
    found: list[tuple[str, str, int | None]] = []
    while rows := entitlements.page(conn, "skai", found[-1][0] if found else "", limit):
        assert len(rows) <= limit
        found += rows
    assert found == [("U3", "pro", 500), ("u1", "pro", 500), ("u2", "free", None)]


def test_ends_of_grants_are_listed_in_their_order(conn: Connection) -> None:
    grant = replace(PRO, source="grant")
    _save(conn, replace(grant, upcoming_changes=((900, "plus"), (950, "free"))), 100, "u1")
    _save(conn, replace(grant, upcoming_changes=((800, "free"),)), 100, "u2")
    _save(conn, replace(grant, upcoming_changes=()), 100, "u3")
    _save(conn, PRO, 100, "u4")
    assert entitlements.ends_of_grants(conn) == [("skai", "u2", 800, "free"), ("skai", "u1", 900, "plus")]


def test_tiers_in_use_count_no_users_by_default(conn: Connection) -> None:
    assert entitlements.tiers_in_use(conn) == {}
    _save(conn, PRO, 100, "u1")
    _save(conn, replace(PRO, source="grant"), 100, "u2")
    _save(conn, FREE, 100, "u3")
    entitlements.save(conn, "other", "u1", PRO, 100)
    assert entitlements.tiers_in_use(conn) == {("skai", "pro"): 2, ("other", "pro"): 1}


def test_users_of_a_tier_are_paged_for_one_app(conn: Connection) -> None:
    for user_id in ("u3", "u1", "u2"):
        _save(conn, PRO, 100, user_id)
    _save(conn, FREE, 100, "u0")
    entitlements.save(conn, "other", "u9", PRO, 100)
    assert entitlements.users_of_tier(conn, "skai", "pro", "", 2) == ["u1", "u2"]
    assert entitlements.users_of_tier(conn, "skai", "pro", "u2", 2) == ["u3"]
    assert entitlements.users_of_tier(conn, "skai", "pro", "u3", 2) == []


_USER_IDS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(_USER_IDS | st.sampled_from(["a", "A", "b", "B", "é", "e\u0301", "-1", "_1"]), max_size=12))
def test_pages_contain_every_user_once_in_byte_order(conn: Connection, user_ids: set[str]) -> None:
    with conn.begin_nested() as savepoint:
        for user_id in user_ids:
            _save(conn, PRO, 100, user_id)
        found: list[str] = []
        while page := entitlements.users_of_tier(conn, "skai", "pro", found[-1] if found else "", 3):
            found += page
        savepoint.rollback()
    assert found == sorted(user_ids, key=str.encode)
