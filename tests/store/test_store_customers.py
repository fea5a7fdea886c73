"""The app and user of each Stripe customer."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection

from gateway.errors import Conflict
from gateway.store import customers


def test_a_customer_is_found_by_its_user_and_by_its_id(conn: Connection) -> None:
    added = customers.add(conn, "skai", "u1", "cus_1", "u1@example.com", 100)
    assert added == customers.Customer("skai", "u1", "cus_1", "u1@example.com", 100, None)
    assert customers.of_user(conn, "skai", "u1") == [added]
    assert customers.owner(conn, "cus_1") == added
    assert customers.owner(conn, "cus_2") is None
    assert customers.of_user(conn, "other", "u1") == []


def test_adding_a_known_customer_returns_the_stored_one(conn: Connection) -> None:
    first = customers.add(conn, "skai", "u1", "cus_1", None, 100)
    assert customers.add(conn, "skai", "u1", "cus_1", "late@example.com", 200) == first
    assert customers.count_ever(conn, "skai", "u1") == 1


@pytest.mark.parametrize(("app_id", "user_id"), [("other", "u1"), ("skai", "u2")])
def test_a_customer_of_another_user_is_refused_and_not_changed(conn: Connection, app_id: str, user_id: str) -> None:
    customers.add(conn, "skai", "u1", "cus_1", None, 100)
    with pytest.raises(Conflict):
        customers.add(conn, app_id, user_id, "cus_1", None, 200)
    assert customers.of_user(conn, app_id, user_id) == []
    stored = customers.owner(conn, "cus_1")
    assert stored is not None
    assert (stored.app_id, stored.user_id) == ("skai", "u1")


def test_customers_are_listed_newest_first_without_deleted_ones(conn: Connection) -> None:
    for customer_id, created_at in (("cus_1", 100), ("cus_3", 300), ("cus_2", 200)):
        customers.add(conn, "skai", "u1", customer_id, None, created_at)
    assert [customer.customer_id for customer in customers.of_user(conn, "skai", "u1")] == ["cus_3", "cus_2", "cus_1"]
    customers.mark_deleted(conn, "cus_3", 400)
    customers.mark_deleted(conn, "cus_3", 500)
    assert [customer.customer_id for customer in customers.of_user(conn, "skai", "u1")] == ["cus_2", "cus_1"]
    deleted = customers.owner(conn, "cus_3")
    assert deleted is not None
    assert deleted.deleted_at == 400
    assert customers.count_ever(conn, "skai", "u1") == 3


def test_the_newest_customer_is_the_last_recorded_one_that_is_not_deleted(conn: Connection) -> None:
    assert customers.newest(conn) is None
    customers.add(conn, "skai", "u1", "cus_1", None, 100)
    customers.add(conn, "other", "u2", "cus_2", None, 200)
    customers.mark_deleted(conn, "cus_2", 300)
    newest = customers.newest(conn)
    assert newest is not None
    assert newest.customer_id == "cus_1"


@pytest.mark.parametrize("other", ["U1", "u1 ", "ú1", "u\u03011"])
def test_user_ids_are_compared_byte_for_byte(conn: Connection, other: str) -> None:
    customers.add(conn, "skai", "u1", "cus_1", None, 100)
    customers.add(conn, "skai", other, "cus_2", None, 100)
    assert [customer.customer_id for customer in customers.of_user(conn, "skai", other)] == ["cus_2"]
