"""Everybody we know, in pages."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from gateway.store import entitlements, provisioning, users
from gateway.store.users import UserFilter
from gateway.tiers.model import Entitlement, Reason

FREE = Entitlement("free", Reason.DEFAULT, "default")
PRO = Entitlement("pro", Reason.ACTIVE, "subscription", status="active", customer_id="cus_1")
IDS = st.text("aZ\u00e9\u6f22 ", min_size=1, max_size=3)
FIRST = {"skai": "free", "blog": "reader"}


def _fill(conn: Connection) -> None:
    entitlements.save(conn, "skai", "ada", PRO, 100)
    entitlements.save(conn, "skai", "bob", FREE, 100)
    entitlements.save(conn, "blog", "ada", Entitlement("patron", Reason.GRANT, "grant"), 100)
    provisioning.put(conn, "skai", "only seen", 100)


def _names(conn: Connection, **wanted: str) -> list[tuple[str, str, str]]:
    found = users.page(conn, UserFilter(**wanted), FIRST, ("", ""), 100)
    return [(each["app_id"], each["user_id"], each["tier"]) for each in found]


def test_everybody_is_listed_who_was_decided_on_or_only_seen(conn: Connection) -> None:
    _fill(conn)
    assert _names(conn) == [
        ("blog", "ada", "patron"), ("skai", "ada", "pro"), ("skai", "bob", "free"), ("skai", "only seen", "free"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"app_id": "skai"}, ["ada", "bob", "only seen"]),
        ({"tier": "free"}, ["bob", "only seen"]),
        ({"tier": "patron"}, ["ada"]),
        ({"tier": "reader"}, []),
        ({"status": "active"}, ["ada"]),
        ({"status": "none", "app_id": "skai"}, ["bob", "only seen"]),
        ({"status": "past_due"}, []),
        ({"app_id": "skai", "tier": "pro", "status": "active"}, ["ada"]),
        ({"app_id": "nope"}, []),
    ],
)
def test_each_filter_is_kept(conn: Connection, wanted: dict[str, str], expected: list[str]) -> None:
    _fill(conn)
    assert [user_id for _, user_id, _ in _names(conn, **wanted)] == expected


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(decided=st.sets(IDS), seen=st.sets(IDS), size=st.integers(1, 4))
def test_pages_of_any_size_hold_everybody_once_and_in_order(
    conn: Connection, decided: set[str], seen: set[str], size: int
) -> None:
    with conn.begin_nested() as savepoint:
        for user_id in decided:
            entitlements.save(conn, "skai", user_id, FREE, 100)
        for user_id in seen:
            provisioning.put(conn, "skai", user_id, 100)
        found: list[str] = []
        after = ("", "")
        while page := users.page(conn, UserFilter(), FIRST, after, size):
            assert len(page) <= size
            found += [each["user_id"] for each in page]
            after = (page[-1]["app_id"], page[-1]["user_id"])
        assert found == sorted(decided | seen, key=str.encode)
        savepoint.rollback()
