"""Disputes, refunds and fraud warnings with Stripe's last answer."""

from __future__ import annotations

from sqlalchemy import Connection

from gateway.store import disputes, forgetting
from gateway.store.disputes import StoredDispute


def stored(conn: Connection, user_id: str = "u1") -> list[StoredDispute]:
    return disputes.of_user(conn, "skai", user_id)


def test_repeated_events_about_a_dispute_are_one_open_row(conn: Connection) -> None:
    for now in (100, 200, 300):
        disputes.record_event(conn, "du_1", "dispute", "cus_1", "skai", "u1", now)
    assert stored(conn) == [StoredDispute("du_1", "dispute", "cus_1", wanted=3, open=True, found={})]


def test_the_answer_about_a_closed_dispute_is_kept(conn: Connection) -> None:
    """A lost dispute still counts after it is closed."""
    disputes.record_event(conn, "du_1", "dispute", "cus_1", "skai", "u1", 100)
    [one] = stored(conn)
    disputes.record_answer(conn, one, {"status": "lost", "reason": "überzogen"}, still_open=False)
    [after] = stored(conn)
    assert (after.open, after.found) == (False, {"status": "lost", "reason": "überzogen"})


def test_a_later_event_reopens_a_dispute_and_keeps_the_answer(conn: Connection) -> None:
    disputes.record_event(conn, "du_1", "dispute", "cus_1", "skai", "u1", 100)
    disputes.record_answer(conn, stored(conn)[0], {"status": "lost"}, still_open=False)
    disputes.record_event(conn, "du_1", "dispute", "cus_1", "skai", "u1", 200)
    assert stored(conn) == [StoredDispute("du_1", "dispute", "cus_1", 2, open=True, found={"status": "lost"})]


def test_an_answer_older_than_the_last_event_does_not_close_a_dispute(conn: Connection) -> None:
    disputes.record_event(conn, "du_1", "dispute", "cus_1", "skai", "u1", 100)
    [read_before] = stored(conn)
    disputes.record_event(conn, "du_1", "dispute", "cus_1", "skai", "u1", 101)
    disputes.record_answer(conn, read_before, {"status": "won"}, still_open=False)
    assert stored(conn) == [StoredDispute("du_1", "dispute", "cus_1", 2, open=True, found={"status": "won"})]
    disputes.record_answer(conn, read_before, {}, still_open=False)
    assert stored(conn)[0].found == {}


def test_disputes_of_a_user_are_listed_oldest_first(conn: Connection) -> None:
    disputes.record_event(conn, "ch_2", "charge", "cus_1", "skai", "u1", 200)
    disputes.record_event(conn, "du_1", "dispute", "cus_1", "skai", "u1", 100)
    disputes.record_event(conn, "du_3", "dispute", "cus_2", "skai", "u2", 100)
    assert [each.object_id for each in stored(conn)] == ["du_1", "ch_2"]
    assert [each.object_id for each in stored(conn, "u2")] == ["du_3"]
    assert disputes.of_user(conn, "studio", "u1") == []


def test_the_owner_of_a_known_dispute_is_not_changed(conn: Connection) -> None:
    disputes.record_event(conn, "du_1", "dispute", "cus_1", "skai", "u1", 100)
    disputes.record_event(conn, "du_1", "dispute", "cus_9", "studio", "u9", 200)
    assert [each.customer_id for each in stored(conn)] == ["cus_1"]
    assert disputes.of_user(conn, "studio", "u9") == []


def test_a_forgotten_user_has_no_disputes(conn: Connection) -> None:
    disputes.record_event(conn, "du_1", "dispute", "cus_1", "skai", "u1", 100)
    disputes.record_event(conn, "du_2", "dispute", "cus_2", "skai", "u2", 100)
    assert forgetting.remove_user(conn, "skai", "u1") == 1
    assert (stored(conn), len(stored(conn, "u2"))) == ([], 1)
