"""The last good tier of each subscription."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from gateway.store import forgetting, last_good
from gateway.tiers.model import LastGoodTier

GOOD = LastGoodTier("sub_1", "cus_1", "pro", "price_pro", True, None, "active")
OTHER = LastGoodTier("sub_2", "cus_1", "enterprise", None, False, 900, "past_due")


def kept(conn: Connection, *goods: LastGoodTier) -> dict[str, LastGoodTier]:
    last_good.replace_all(conn, "skai", "u1", {each.subscription_id: each for each in goods}, 100)
    return last_good.of_user(conn, "skai", "u1")


def test_the_last_good_tiers_of_a_user_are_replaced_together(conn: Connection) -> None:
    assert kept(conn, GOOD, OTHER) == {"sub_1": GOOD, "sub_2": OTHER}
    changed = replace(GOOD, tier="enterprise", gives=False)
    assert kept(conn, changed) == {"sub_1": changed}
    assert kept(conn) == {}


def test_a_last_good_tier_is_deleted_with_its_user(conn: Connection) -> None:
    kept(conn, GOOD)
    assert last_good.of_user(conn, "skai", "u2") == last_good.of_user(conn, "studio", "u1") == {}
    forgetting.remove_user(conn, "skai", "u1")
    assert last_good.of_user(conn, "skai", "u1") == {}


def test_a_last_good_tier_is_deleted_with_the_account(conn: Connection) -> None:
    kept(conn, GOOD)
    forgetting.remove_account(conn, (), ())
    assert last_good.of_user(conn, "skai", "u1") == {}
