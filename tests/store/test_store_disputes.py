"""Contested charges are remembered until Stripe says that they are over, and asked about again when it speaks again."""

from __future__ import annotations

from sqlalchemy import Connection

from gateway.store import disputes, forgetting
from gateway.store.disputes import StoredDispute


def remembered(conn: Connection, user_id: str = "u1") -> list[StoredDispute]:
    return disputes.of_user(conn, "skai", user_id)


def test_what_an_event_told_of_is_remembered_once_and_open(conn: Connection) -> None:
    for now in (100, 200, 300):
        disputes.record_event(conn, "du_1", "dispute", "cus_1", "skai", "u1", now)
    assert remembered(conn) == [StoredDispute("du_1", "dispute", "cus_1", wanted=3, open=True, found={})]


def test_what_stripe_said_is_kept_after_it_is_over(conn: Connection) -> None:
    """A lost dispute still counts."""
    disputes.record_event(conn, "du_1", "dispute", "cus_1", "skai", "u1", 100)
    [one] = remembered(conn)
    disputes.record_answer(conn, one, {"status": "lost", "reason": "überzogen"}, still_open=False)
    [after] = remembered(conn)
    assert (after.open, after.found) == (False, {"status": "lost", "reason": "überzogen"})


def test_a_later_event_opens_it_again_and_forgets_nothing(conn: Connection) -> None:
    disputes.record_event(conn, "du_1", "dispute", "cus_1", "skai", "u1", 100)
    disputes.record_answer(conn, remembered(conn)[0], {"status": "lost"}, still_open=False)
    disputes.record_event(conn, "du_1", "dispute", "cus_1", "skai", "u1", 200)
    assert remembered(conn) == [StoredDispute("du_1", "dispute", "cus_1", 2, open=True, found={"status": "lost"})]


def test_an_answer_that_is_older_than_the_last_event_closes_nothing(conn: Connection) -> None:
    disputes.record_event(conn, "du_1", "dispute", "cus_1", "skai", "u1", 100)
    [asked_then] = remembered(conn)
    disputes.record_event(conn, "du_1", "dispute", "cus_1", "skai", "u1", 101)
    disputes.record_answer(conn, asked_then, {"status": "won"}, still_open=False)
    assert remembered(conn) == [StoredDispute("du_1", "dispute", "cus_1", 2, open=True, found={"status": "won"})]
    disputes.record_answer(conn, asked_then, {}, still_open=False)
    assert remembered(conn)[0].found == {}


def test_each_user_has_their_own_in_the_order_of_time(conn: Connection) -> None:
    disputes.record_event(conn, "ch_2", "charge", "cus_1", "skai", "u1", 200)
    disputes.record_event(conn, "du_1", "dispute", "cus_1", "skai", "u1", 100)
    disputes.record_event(conn, "du_3", "dispute", "cus_2", "skai", "u2", 100)
    assert [each.object_id for each in remembered(conn)] == ["du_1", "ch_2"]
    assert [each.object_id for each in remembered(conn, "u2")] == ["du_3"]
    assert disputes.of_user(conn, "studio", "u1") == []


def test_nobody_takes_over_what_is_anothers(conn: Connection) -> None:
    disputes.record_event(conn, "du_1", "dispute", "cus_1", "skai", "u1", 100)
    disputes.record_event(conn, "du_1", "dispute", "cus_9", "studio", "u9", 200)
    assert [each.customer_id for each in remembered(conn)] == ["cus_1"]
    assert disputes.of_user(conn, "studio", "u9") == []


def test_who_is_forgotten_leaves_none_behind(conn: Connection) -> None:
    disputes.record_event(conn, "du_1", "dispute", "cus_1", "skai", "u1", 100)
    disputes.record_event(conn, "du_2", "dispute", "cus_2", "skai", "u2", 100)
    assert forgetting.remove_user(conn, "skai", "u1") == 1
    assert (remembered(conn), len(remembered(conn, "u2"))) == ([], 1)
