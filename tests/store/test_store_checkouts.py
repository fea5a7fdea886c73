"""The open checkout of each user."""

from __future__ import annotations

from sqlalchemy import Connection

from gateway.store import checkouts
from gateway.store.checkouts import Checkout

URL = "https://checkout.stripe.example/c/1"


def test_a_checkout_begins_without_a_session_and_then_has_one(conn: Connection) -> None:
    assert checkouts.get(conn, "skai", "u1") is None
    begun = checkouts.begin(conn, "skai", "u1", "pro", "price_1", 100)
    assert begun == Checkout("skai", "u1", None, "pro", "price_1", None, None, 1)
    assert checkouts.get(conn, "skai", "u1") == begun
    assert checkouts.opened(conn, "skai", "u1", 1, "cs_1", URL, 900)
    assert checkouts.get(conn, "skai", "u1") == Checkout("skai", "u1", "cs_1", "pro", "price_1", URL, 900, 1)
    assert checkouts.get(conn, "skai", "u2") is None


def test_a_new_attempt_has_a_new_number_and_no_session(conn: Connection) -> None:
    checkouts.begin(conn, "skai", "u1", "pro", "price_1", 100)
    checkouts.opened(conn, "skai", "u1", 1, "cs_1", URL, 900)
    begun = checkouts.begin(conn, "skai", "u1", "plus", "price_2", 200)
    assert begun == Checkout("skai", "u1", None, "plus", "price_2", None, None, 2)
    assert checkouts.get(conn, "skai", "u1") == begun


def test_a_session_of_an_older_attempt_is_not_recorded(conn: Connection) -> None:
    checkouts.begin(conn, "skai", "u1", "pro", "price_1", 100)
    second = checkouts.begin(conn, "skai", "u1", "plus", "price_2", 200)
    assert not checkouts.opened(conn, "skai", "u1", 1, "cs_1", URL, 900)
    assert checkouts.get(conn, "skai", "u1") == second


def test_an_attempt_number_is_not_reused_after_the_checkout_is_cleared(conn: Connection) -> None:
    checkouts.begin(conn, "skai", "u1", "pro", "price_1", 100)
    checkouts.clear(conn, "skai", "u1")
    checkouts.clear(conn, "skai", "u1")
    assert checkouts.get(conn, "skai", "u1") is None
    assert not checkouts.opened(conn, "skai", "u1", 1, "cs_1", URL, 900)
    assert checkouts.get(conn, "skai", "u1") is None
    assert checkouts.begin(conn, "skai", "u1", "pro", "price_1", 200).attempt == 2
