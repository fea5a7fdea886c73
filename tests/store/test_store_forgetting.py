"""Deleting the data of a user, of an account and of old events, and the tombstones that remain."""

from __future__ import annotations

from sqlalchemy import Connection, insert

from gateway.billing.accounts.account import ACCOUNT, MODE, binding
from gateway.billing.accounts.account_move import move_account
from gateway.billing.accounts.recovery import begin_recovery, mark_restored
from gateway.billing.work.transaction import Transaction
from gateway.store import (
    checkouts,
    customers,
    entitlements,
    forgetting,
    grants,
    inbox,
    instance,
    keys,
    litellm_ids,
    notices,
    prices,
    provisioning,
    refreshes,
    tombstones,
)
from gateway.store.schema import notices as notices_table
from gateway.tiers.model import Entitlement, Reason

PAID = Entitlement("pro", Reason.ACTIVE, "subscription", "active", "cus_1", "sub_1", "price_pro")


def person(conn: Connection, user_id: str, customer_id: str) -> None:
    """Add a user with a row in every table."""
    customers.add(conn, "skai", user_id, customer_id, None, 100)
    entitlements.save(conn, "skai", user_id, PAID, 100)
    refreshes.want(conn, "skai", user_id, 100)
    provisioning.put(conn, "skai", user_id, 100)
    checkouts.begin(conn, "skai", user_id, "pro", "price_pro", 100)
    grants.add(conn, "skai", user_id, "pro", "gift", None, 100)
    keys.add(conn, "user", user_id.encode().ljust(32), "skai", user_id, "", 100)
    litellm_ids.reserve(conn, "customer", user_id, "skai", user_id, 100)
    inbox.add(conn, "", f"evt_{user_id}", "invoice.paid", None, False, customer_id, b"{}", 100)
    inbox.finish(conn, "", f"evt_{user_id}", "handled", 100, "skai", user_id)
    notice(conn, f"chg_{user_id}", user_id, "waiting", None)


def notice(conn: Connection, change_id: str, user_id: str, state: str, done_at: int | None) -> None:
    number = len(notices.recent(conn, 1000)) + 1
    conn.execute(insert(notices_table), {
        "change_id": change_id, "number": number, "app_id": "skai", "user_id": user_id, "body": "{}", "state": state,
        "attempts": 0, "error": "", "created_at": 100, "done_at": done_at,
    })  # fmt: skip


def test_the_rows_of_one_user_are_deleted_and_no_others(conn: Connection) -> None:
    person(conn, "u1", "cus_1")
    person(conn, "u2", "cus_2")
    assert forgetting.remove_user(conn, "skai", "u1") == 8
    assert customers.ids_of_user(conn, "skai", "u1") == []
    assert entitlements.get(conn, "skai", "u1") is None
    assert entitlements.changes(conn, "skai", "u1", 10) == []
    event = inbox.get(conn, "", "evt_u1")
    assert event is not None
    assert (event.body, event.customer_id, event.user_id, event.state) == (b"", None, "", "forgotten")
    assert forgetting.litellm_ids_of(conn, "skai", "u1") == [("customer", "u1")]
    forgetting.remove_litellm_ids(conn, "skai", "u1")
    assert forgetting.litellm_ids_of(conn, "skai", "u1") == []
    assert customers.ids_of_user(conn, "skai", "u2") == ["cus_2"]
    assert entitlements.get(conn, "skai", "u2") is not None
    assert len(grants.live(conn, "skai", "u2", 200)) == 1
    assert forgetting.litellm_ids_of(conn, "skai", "u2") == [("customer", "u2")]


def test_a_tombstone_matches_only_its_user_or_customer(conn: Connection) -> None:
    tombstones.put_user(conn, "a", "bc", 100)
    tombstones.put_customer(conn, "cus_1", 100)
    tombstones.put_user(conn, "a", "bc", 200)
    assert tombstones.user_forgotten_at(conn, "a", "bc") == 200
    assert tombstones.user_forgotten_at(conn, "ab", "c") is None
    assert tombstones.is_forgotten_customer(conn, "cus_1")
    assert not tombstones.is_forgotten_customer(conn, "cus_2")


def test_the_rows_of_an_account_are_deleted_and_grants_and_keys_stay(conn: Connection) -> None:
    person(conn, "u1", "cus_1")
    entitlements.save(conn, "skai", "u3", Entitlement("sovereign", Reason.GRANT, "grant"), 100)
    prices.record(conn, "price_pro", "skai", "pro", None, 100)
    inbox.add(conn, "", "evt_waits", "invoice.paid", None, False, "cus_1", b"{}", 100)
    for key in (ACCOUNT, MODE, "portal:skai", "portal:blog", "portals"):
        instance.put(conn, key, "test")
    moved = move_account(Transaction(conn, 200))
    assert (moved.users, moved.bound.account) == (1, "test")
    assert moved.forgotten == {
        "customers": 1, "checkouts": 1, "prices": 1, "entitlements": 1, "disputes": 0, "events": 1, "portals": 2,
    }  # fmt: skip
    after = binding(conn)
    assert (after.account, after.mode, after.newest) == ("", "", None)
    assert instance.get(conn, "portals") == "test"
    assert entitlements.get(conn, "skai", "u3") is not None
    assert len(keys.live(conn)) == 1
    assert len(grants.live(conn, "skai", "u1", 200)) == 1
    assert inbox.count_waiting(conn) == 0
    assert set(refreshes.waiting(conn)) == {("skai", "u1")}


def test_a_restored_database_has_no_old_job(conn: Connection) -> None:
    person(conn, "u1", "cus_1")
    litellm_ids.provisioned(conn, "customer", "u1", "digest", "1d", 100)
    notice(conn, "chg_done", "u1", "done", 100)
    checkouts.opened(conn, "skai", "u1", 1, "cs_1", "https://checkout.example.com", 10_000)
    assert mark_restored(Transaction(conn, 200)) == 1
    assert provisioning.get(conn, "skai", "u1") is None
    assert [each.change_id for each in notices.of_user(conn, "skai", "u1", 10)] == ["chg_done"]
    assert checkouts.get(conn, "skai", "u1") is None
    stored = litellm_ids.get(conn, "customer", "u1")
    assert stored is not None
    assert stored.digest == ""
    assert refreshes.waiting(conn) == {("skai", "u1"): (2, 0)}
    assert begin_recovery(conn) == "restored"


def test_only_a_store_without_customers_recovers_them_from_stripe(conn: Connection) -> None:
    assert begin_recovery(conn) == "empty"
    assert begin_recovery(conn) == "empty"  # a kill in between changes nothing
    customers.add(conn, "skai", "u1", "cus_1", None, 100)
    assert begin_recovery(conn) == "empty"


def test_a_store_with_customers_needs_no_recovery(conn: Connection) -> None:
    customers.add(conn, "skai", "u1", "cus_1", None, 100)
    assert begin_recovery(conn) == ""


def test_old_bodies_are_emptied_in_pages_that_read_each_event_once(conn: Connection) -> None:
    for number, at in enumerate((10, 20, 20, 30, 99)):
        inbox.add(conn, "", f"evt_{number}", "x", None, False, None, b"{}", at)
        if number != 1:
            inbox.finish(conn, "", f"evt_{number}", "ignored", at)
    positions, after = [], (0, "")
    while (position := forgetting.empty_events(conn, 50, after, 2)) is not None:
        after = position
        positions.append(position)
    assert positions == [(20, "evt_1"), (30, "evt_3")]
    bodies = {each.event_id: each.body for each in inbox.recent(conn, 10)}
    assert bodies == {"evt_0": b"", "evt_1": b"{}", "evt_2": b"", "evt_3": b"", "evt_4": b"{}"}


def test_only_notices_accepted_long_ago_are_deleted(conn: Connection) -> None:
    notice(conn, "chg_old", "u1", "done", 10)
    notice(conn, "chg_new", "u1", "done", 90)
    notice(conn, "chg_dead", "u1", "dead", None)
    assert forgetting.remove_done_notices(conn, 50, 10) == 1
    assert {each.change_id for each in notices.recent(conn, 10)} == {"chg_new", "chg_dead"}
