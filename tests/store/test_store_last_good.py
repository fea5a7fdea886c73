"""The last good tier of each subscription, in both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, text

from gateway.store import entitlements, forgetting, last_good
from gateway.store.migrations.versions import v0005_last_good_tiers
from gateway.tiers.model import Entitlement, LastGoodTier, Reason

GOOD = LastGoodTier("sub_1", "cus_1", "pro", "price_pro", True, None, "active")
OTHER = LastGoodTier("sub_2", "cus_1", "enterprise", None, False, 900, "past_due")


def kept(conn: Connection, *goods: LastGoodTier) -> dict[str, LastGoodTier]:
    last_good.replace_all(conn, "skai", "u1", {each.subscription_id: each for each in goods}, 100)
    return last_good.of_user(conn, "skai", "u1")


def test_what_is_kept_of_a_user_is_replaced_whole(conn: Connection) -> None:
    assert kept(conn, GOOD, OTHER) == {"sub_1": GOOD, "sub_2": OTHER}
    changed = replace(GOOD, tier="enterprise", gives=False)
    assert kept(conn, changed) == {"sub_1": changed}
    assert kept(conn) == {}


def test_it_is_of_one_user_and_goes_with_them(conn: Connection) -> None:
    kept(conn, GOOD)
    assert last_good.of_user(conn, "skai", "u2") == last_good.of_user(conn, "studio", "u1") == {}
    forgetting.remove_user(conn, "skai", "u1")
    assert last_good.of_user(conn, "skai", "u1") == {}


def test_it_goes_with_the_account(conn: Connection) -> None:
    kept(conn, GOOD)
    forgetting.remove_account(conn, (), ())
    assert last_good.of_user(conn, "skai", "u1") == {}


@pytest.mark.parametrize("source", ["subscription", "grant", "default"])
def test_the_first_ones_are_those_of_the_last_decisions(conn: Connection, source: str) -> None:
    """A database of an older version: a tier that was given by a subscription is its last good one."""
    decided = Entitlement("pro", Reason.ACTIVE, source, "active", "cus_1", "sub_1", "price_pro")  # type: ignore[arg-type]
    entitlements.save(conn, "skai", "u1", decided, 50)
    conn.execute(text("DROP TABLE last_good_tiers"))
    for column in ("period_end_at", "renews", "pending_tier", "pending_at"):
        conn.execute(text(f"ALTER TABLE entitlements DROP COLUMN {column}"))
    with Operations.context(MigrationContext.configure(conn)):
        v0005_last_good_tiers.upgrade()
    found = last_good.of_user(conn, "skai", "u1")
    assert found == ({"sub_1": GOOD} if source == "subscription" else {})
    assert entitlements.get(conn, "skai", "u1") is not None
