"""Stripe's events as received."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from gateway.store import inbox


def _add(conn: Connection, event_id: str, now: int = 100, account: str = "", body: bytes = b"{}") -> bool:
    return inbox.add(conn, account, event_id, "invoice.paid", "2026-10-28.endive", False, "cus_1", body, now)


def test_an_event_is_stored_as_received_and_waits(conn: Connection) -> None:
    body = bytes(range(256))
    assert inbox.add(conn, "", "evt_1", "invoice.paid", None, True, None, body, 100)
    event = inbox.get(conn, "", "evt_1")
    assert event is not None
    assert (event.type, event.api_version, event.livemode, event.customer_id) == ("invoice.paid", None, True, None)
    assert event.body == body
    assert isinstance(event.body, bytes)
    assert (event.received_at, event.state, event.attempts, event.due_at, event.error) == (100, "waiting", 0, 100, "")
    assert (event.app_id, event.user_id, event.finished_at) == ("", "", None)
    assert inbox.waiting(conn, 100, 10) == [event]
    assert inbox.get(conn, "", "evt_2") is None


def test_t5_a_second_delivery_is_not_new_and_changes_nothing(conn: Connection) -> None:
    assert _add(conn, "evt_1", body=b"first")
    assert not _add(conn, "evt_1", now=200, body=b"second")
    event = inbox.get(conn, "", "evt_1")
    assert event is not None
    assert (event.body, event.received_at) == (b"first", 100)


def test_t5_the_same_event_of_two_accounts_is_two(conn: Connection) -> None:
    assert _add(conn, "evt_1", account="")
    assert _add(conn, "evt_1", account="acct_1")
    assert not _add(conn, "evt_1", account="acct_1")
    assert inbox.count_waiting(conn) == 2


def test_t5_the_account_cannot_be_null(conn: Connection) -> None:
    insert = text(
        "INSERT INTO inbox (account, event_id, type, livemode, body, received_at, state, attempts, due_at, error,"
        " app_id, user_id) VALUES (NULL, 'evt_1', 't', false, :body, 1, 'waiting', 0, 1, '', '', '')"
    )
    with pytest.raises(IntegrityError), conn.begin_nested():
        conn.execute(insert, {"body": b""})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["", "acct_1", "acct_2"]), st.integers(0, 5)), max_size=30))
def test_any_sequence_of_deliveries_records_each_event_once(
    conn: Connection, deliveries: list[tuple[str, int]]
) -> None:
    with conn.begin_nested() as savepoint:
        new = [(account, number) for account, number in deliveries if _add(conn, f"evt_{number}", account=account)]
        stored = [(event.account, int(event.event_id[4:])) for event in inbox.waiting(conn, 100, 1000)]
        savepoint.rollback()
    assert len(new) == len(set(new))
    assert set(new) == set(deliveries)
    assert sorted(stored) == sorted(new)


def test_a_finished_event_does_not_wait_and_has_its_user(conn: Connection) -> None:
    _add(conn, "evt_1")
    inbox.finish(conn, "", "evt_1", "handled", 150, "skai", "u1")
    assert inbox.waiting(conn, 1000, 10) == []
    assert inbox.count_waiting(conn) == 0
    event = inbox.get(conn, "", "evt_1")
    assert event is not None
    assert (event.state, event.finished_at, event.app_id, event.user_id) == ("handled", 150, "skai", "u1")
    assert not _add(conn, "evt_1", now=200)
    assert inbox.count_waiting(conn) == 0


def test_a_retried_event_waits_until_its_retry_is_due(conn: Connection) -> None:
    _add(conn, "evt_1")
    inbox.retry(conn, "", "evt_1", 130, "Stripe timed out")
    assert inbox.waiting(conn, 129, 10) == []
    assert inbox.count_waiting(conn) == 1
    [event] = inbox.waiting(conn, 130, 10)
    assert (event.attempts, event.due_at, event.error) == (1, 130, "Stripe timed out")


def test_a_replayed_event_waits_like_a_new_one(conn: Connection) -> None:
    _add(conn, "evt_1")
    inbox.retry(conn, "", "evt_1", 130, "Stripe timed out")
    inbox.finish(conn, "", "evt_1", "ignored", 150)
    assert inbox.reopen(conn, "", "evt_1", 500)
    [event] = inbox.waiting(conn, 500, 10)
    assert (event.attempts, event.due_at, event.error, event.finished_at) == (0, 500, "", None)
    assert not inbox.reopen(conn, "", "evt_2", 500)


def test_events_are_read_longest_due_first_up_to_the_limit(conn: Connection) -> None:
    for number in (3, 1, 2):
        _add(conn, f"evt_{number}", now=number)
    assert [event.event_id for event in inbox.waiting(conn, 2, 10)] == ["evt_1", "evt_2"]
    assert [event.event_id for event in inbox.waiting(conn, 9, 2)] == ["evt_1", "evt_2"]


def test_recent_events_are_listed_newest_first_by_app_and_user(conn: Connection) -> None:
    owners = [("", ""), ("skai", "u1"), ("skai", "u2"), ("other", "u1")]
    for number, (app_id, user_id) in enumerate(owners):
        _add(conn, f"evt_{number}", now=number)
        if app_id:
            inbox.finish(conn, "", f"evt_{number}", "handled", 50, app_id, user_id)

    def recent(*scope: str, limit: int = 10) -> list[str]:
        return [event.event_id for event in inbox.recent(conn, limit, *scope)]

    assert recent() == ["evt_3", "evt_2", "evt_1", "evt_0"]
    assert recent(limit=2) == ["evt_3", "evt_2"]
    assert recent("skai") == ["evt_2", "evt_1"]
    assert recent("skai", "u1") == ["evt_1"]
    assert recent("skai", "u3") == []
