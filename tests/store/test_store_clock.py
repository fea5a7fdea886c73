"""Waits after a jump of the clock."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, insert

from gateway.store import clock, entitlements, notices, provisioning, refreshes
from gateway.store.schema import inbox
from gateway.tiers.model import Entitlement, Reason

NOW, HOUR = 10_000, 3600


def waiting(conn: Connection, due_at: int) -> None:
    """Add one row of each kind that waits, due at `due_at` after a failure."""
    refreshes.want(conn, "skai", "u1", NOW)
    [lease] = refreshes.lease(conn, "me", NOW, 60, 1)
    refreshes.fail(conn, lease, "me", due_at, "")
    job_id = provisioning.put(conn, "skai", "u1", NOW)
    provisioning.retry(conn, job_id, 1, due_at, "")
    change = entitlements.save(conn, "skai", "u1", Entitlement("pro", Reason.GRANT, "grant"), NOW)
    assert change is not None
    notices.put(conn, change, "{}", NOW)
    [notice] = notices.due(conn, NOW, 1)
    notices.retry(conn, notice, due_at, 500, "", NOW)
    conn.execute(
        insert(inbox).values(
            account="", event_id="evt_1", type="x", livemode=False, body=b"", received_at=NOW, state="waiting",
            attempts=1, due_at=due_at, error="", app_id="", user_id="",
        )
    )  # fmt: skip


def due(conn: Connection) -> list[int | None]:
    pending = refreshes.of_user(conn, "skai", "u1")
    job, [notice] = provisioning.get(conn, "skai", "u1"), notices.of_user(conn, "skai", "u1", 1)
    event_due_at = conn.execute(inbox.select()).one().due_at
    return [pending.due_at if pending else None, job.due_at if job else None, notice.due_at, event_due_at]


def test_after_a_jump_back_the_remaining_waits_are_the_same(conn: Connection) -> None:
    waiting(conn, NOW + 30)
    clock.shift_waits(conn, NOW - HOUR, -HOUR)
    assert due(conn) == [NOW - HOUR + 30] * 4


def test_a_jump_forward_makes_nothing_wait_longer(conn: Connection) -> None:
    waiting(conn, NOW + 30)
    clock.shift_waits(conn, NOW + HOUR, HOUR)
    assert due(conn) == [NOW + 30] * 4


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
def test_a_jump_does_not_change_how_long_an_app_has_been_failing(conn: Connection, seconds: int) -> None:
    waiting(conn, NOW + 30)
    clock.shift_waits(conn, NOW + seconds, seconds)
    [notice] = notices.of_user(conn, "skai", "u1", 1)
    assert notice.first_failed_at == NOW + seconds


def test_a_timer_for_a_fixed_instant_is_not_moved(conn: Connection) -> None:
    refreshes.want(conn, "skai", "u1", NOW)
    [lease] = refreshes.lease(conn, "me", NOW, 60, 1)
    refreshes.finish(conn, lease, "me", NOW, NOW + 500)
    clock.shift_waits(conn, NOW - HOUR, -HOUR)
    clock.end_impossible_waits(conn, NOW - HOUR, 600)
    pending = refreshes.of_user(conn, "skai", "u1")
    assert pending is not None
    assert (pending.due_at, pending.timer_at) == (NOW + 500, NOW + 500)


@pytest.mark.parametrize(("due_at", "then"), [(NOW + 600, NOW + 600), (NOW + 601, NOW)])
def test_at_a_start_impossible_waits_end(conn: Connection, due_at: int, then: int) -> None:
    waiting(conn, due_at)
    clock.end_impossible_waits(conn, NOW, 600)
    assert due(conn) == [then] * 4


def test_decisions_in_the_future_are_found(conn: Connection) -> None:
    for user_id, at in (("u1", NOW), ("u2", NOW + 1)):
        entitlements.save(conn, "skai", user_id, Entitlement("pro", Reason.GRANT, "grant"), at)
    assert entitlements.decided_after(conn, NOW) == [("skai", "u2")]
