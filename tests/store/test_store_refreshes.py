"""Requested refreshes and their leases."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from gateway.store import refreshes
from gateway.store.refreshes import Lease

ME, OTHER = "worker-1", "worker-2"


def _lease(conn: Connection, now: int, owner: str = ME, seconds: int = 60) -> Lease:
    [lease] = refreshes.lease(conn, owner, now, seconds, 10)
    return lease


def test_a_requested_refresh_is_leased_once(conn: Connection) -> None:
    refreshes.want(conn, "skai", "u1", 100)
    assert refreshes.count_waiting(conn) == 1
    lease = _lease(conn, 100)
    assert (lease.app_id, lease.user_id, lease.wanted, lease.attempts) == ("skai", "u1", 1, 0)
    assert refreshes.lease(conn, OTHER, 159, 60, 10) == []
    assert refreshes.lease(conn, ME, 159, 60, 10) == []


def test_one_refresh_serves_all_earlier_requests(conn: Connection) -> None:
    for now in (100, 101, 102):
        refreshes.want(conn, "skai", "u1", now)
    lease = _lease(conn, 102)
    assert lease.wanted == 3
    assert refreshes.finish(conn, lease, ME, 103, None)
    assert refreshes.lease(conn, ME, 10_000, 60, 10) == []
    assert refreshes.count_waiting(conn) == 0


def test_a_request_during_a_refresh_causes_another_at_once(conn: Connection) -> None:
    refreshes.want(conn, "skai", "u1", 100)
    lease = _lease(conn, 100)
    refreshes.want(conn, "skai", "u1", 101)
    assert refreshes.finish(conn, lease, ME, 102, 5000)
    assert refreshes.count_waiting(conn) == 1
    second = _lease(conn, 102)
    assert second.wanted == 2
    assert refreshes.finish(conn, second, ME, 103, 5000)
    assert refreshes.count_waiting(conn) == 0


def test_a_timer_makes_a_refresh_due(conn: Connection) -> None:
    refreshes.want(conn, "skai", "u1", 100)
    assert refreshes.finish(conn, _lease(conn, 100), ME, 101, 500)
    assert refreshes.count_waiting(conn) == 0
    assert refreshes.lease(conn, ME, 499, 60, 10) == []
    lease = _lease(conn, 500)
    assert refreshes.finish(conn, lease, ME, 501, None)
    assert refreshes.lease(conn, ME, 10_000, 60, 10) == []


def test_a_failed_refresh_by_timer_is_retried(conn: Connection) -> None:
    refreshes.want(conn, "skai", "u1", 100)
    refreshes.finish(conn, _lease(conn, 100), ME, 101, 500)
    refreshes.fail(conn, _lease(conn, 500), ME, 530, "Stripe timed out")
    assert refreshes.lease(conn, ME, 529, 60, 10) == []
    assert _lease(conn, 530).attempts == 1


def test_a_failed_refresh_waits_for_its_retry_unless_requested_again(conn: Connection) -> None:
    refreshes.want(conn, "skai", "u1", 100)
    refreshes.fail(conn, _lease(conn, 100), ME, 160, "Stripe timed out")
    assert refreshes.lease(conn, ME, 159, 60, 10) == []
    pending = refreshes.of_user(conn, "skai", "u1")
    assert pending is not None
    assert (pending.attempts, pending.last_error, pending.due_at) == (1, "Stripe timed out", 160)
    refreshes.want(conn, "skai", "u1", 120)
    lease = _lease(conn, 120)
    assert (lease.wanted, lease.attempts) == (2, 0)


def test_a_request_during_a_failing_refresh_does_not_wait_for_the_retry(conn: Connection) -> None:
    refreshes.want(conn, "skai", "u1", 100)
    lease = _lease(conn, 100)
    refreshes.want(conn, "skai", "u1", 101)
    refreshes.fail(conn, lease, ME, 9000, "Stripe timed out")
    assert _lease(conn, 102).wanted == 2


def test_a_finished_refresh_clears_its_failures(conn: Connection) -> None:
    refreshes.want(conn, "skai", "u1", 100)
    refreshes.fail(conn, _lease(conn, 100), ME, 160, "Stripe timed out")
    refreshes.finish(conn, _lease(conn, 160), ME, 161, None)
    pending = refreshes.of_user(conn, "skai", "u1")
    assert pending is not None
    assert (pending.wanted, pending.done, pending.attempts, pending.last_error) == (1, 1, 0, "")
    assert refreshes.of_user(conn, "skai", "u2") is None


def test_an_expired_lease_is_lost_and_can_be_taken_by_another(conn: Connection) -> None:
    refreshes.want(conn, "skai", "u1", 100)
    lease = _lease(conn, 100)
    assert refreshes.holds(conn, lease, ME, 159)
    assert not refreshes.holds(conn, lease, OTHER, 159)
    assert not refreshes.holds(conn, lease, ME, 160)
    assert not refreshes.finish(conn, lease, ME, 160, None)
    taken = _lease(conn, 160, OTHER)
    refreshes.fail(conn, lease, ME, 9000, "too late")
    assert refreshes.holds(conn, taken, OTHER, 161)
    assert refreshes.finish(conn, taken, OTHER, 161, None)


def test_an_expired_lease_cannot_finish_a_later_one_of_the_same_owner(conn: Connection) -> None:
    refreshes.want(conn, "skai", "u1", 100)
    expired = _lease(conn, 100)
    later = _lease(conn, 200)
    assert not refreshes.holds(conn, expired, ME, 201)
    assert not refreshes.finish(conn, expired, ME, 201, None)
    assert refreshes.count_waiting(conn) == 1
    assert refreshes.finish(conn, later, ME, 201, None)


def test_release_all_revokes_every_lease(conn: Connection) -> None:
    refreshes.want(conn, "skai", "u1", 100)
    lease = _lease(conn, 100)
    refreshes.release_all(conn)
    assert not refreshes.holds(conn, lease, ME, 101)
    assert _lease(conn, 101).user_id == "u1"


def test_users_are_leased_longest_due_first_and_not_blocked_by_others(conn: Connection) -> None:
    for user_id, now in (("u3", 103), ("u1", 101), ("u2", 102)):
        refreshes.want(conn, "skai", user_id, now)
    assert [lease.user_id for lease in refreshes.lease(conn, ME, 110, 60, 2)] == ["u1", "u2"]
    assert [lease.user_id for lease in refreshes.lease(conn, OTHER, 110, 60, 2)] == ["u3"]


_STEPS = st.lists(st.sampled_from(["want", "lease", "finish", "timer", "fail", "sleep", "restart"]), max_size=25)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_STEPS)
def test_a_requested_refresh_is_never_lost(conn: Connection, steps: list[str]) -> None:
    with conn.begin_nested() as savepoint:
        requested, served = _play(conn, steps)
        savepoint.rollback()
    assert served == requested


def _play(conn: Connection, steps: list[str]) -> tuple[int, int]:
    """The number of requests, and the number that the last finished refresh served after all failures."""
    now, requested, served = 100, 0, 0
    leases: list[Lease] = []
    for step in [*steps, "sleep", "lease", "finish", "lease", "finish"]:
        now += 1
        if step == "want":
            refreshes.want(conn, "skai", "u1", now)
            requested += 1
        elif step == "lease":
            leases += refreshes.lease(conn, ME, now, 60, 10)
        elif step in ("finish", "timer") and leases:
            lease = leases.pop()
            if refreshes.finish(conn, lease, ME, now, now + 500 if step == "timer" else None):
                served = lease.wanted
        elif step == "fail" and leases:
            refreshes.fail(conn, leases.pop(), ME, now + 300, "Stripe timed out")
        elif step == "sleep":
            now += 1000
        elif step == "restart":
            refreshes.release_all(conn)
    return requested, served


def test_after_a_revoked_lease_the_user_can_be_leased_again(conn: Connection) -> None:
    for user_id in ("u1", "u2"):
        refreshes.want(conn, "skai", user_id, 100)
    first, second = refreshes.lease(conn, ME, 100, 60, 10)
    refreshes.revoke(conn, "skai", "u1")
    assert not refreshes.holds(conn, first, ME, 101)
    assert not refreshes.finish(conn, first, ME, 101, None)
    assert refreshes.finish(conn, second, ME, 101, None)
    assert [lease.user_id for lease in refreshes.lease(conn, OTHER, 101, 60, 10)] == ["u1"]
