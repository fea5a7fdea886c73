"""All known users in pages."""

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
DEFAULT_TIERS = {"skai": "free", "blog": "reader"}


def _fill(conn: Connection) -> None:
    entitlements.save(conn, "skai", "ada", PRO, 100)
    entitlements.save(conn, "skai", "bob", FREE, 100)
    entitlements.save(conn, "blog", "ada", Entitlement("patron", Reason.GRANT, "grant"), 100)
    provisioning.put(conn, "skai", "no tier", 100)


def _names(conn: Connection, **filters: str) -> list[tuple[str, str, str]]:
    found = users.page(conn, UserFilter(**filters), DEFAULT_TIERS, ("", ""), 100)
    return [(each["app_id"], each["user_id"], each["tier"]) for each in found]


def test_users_with_an_entitlement_or_only_a_job_are_listed(conn: Connection) -> None:
    _fill(conn)
    assert _names(conn) == [
        ("blog", "ada", "patron"), ("skai", "ada", "pro"), ("skai", "bob", "free"), ("skai", "no tier", "free"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"app_id": "skai"}, ["ada", "bob", "no tier"]),
        ({"tier": "free"}, ["bob", "no tier"]),
        ({"tier": "patron"}, ["ada"]),
        ({"tier": "reader"}, []),
        ({"status": "active"}, ["ada"]),
        ({"status": "none", "app_id": "skai"}, ["bob", "no tier"]),
        ({"status": "past_due"}, []),
        ({"app_id": "skai", "tier": "pro", "status": "active"}, ["ada"]),
        ({"app_id": "nope"}, []),
    ],
)
def test_each_filter_selects_its_users(conn: Connection, filters: dict[str, str], expected: list[str]) -> None:
    _fill(conn)
    assert [user_id for _, user_id, _ in _names(conn, **filters)] == expected


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(decided=st.sets(IDS), provisioned=st.sets(IDS), size=st.integers(1, 4))
def test_pages_of_any_size_contain_every_user_once_in_order(
    conn: Connection, decided: set[str], provisioned: set[str], size: int
) -> None:
    with conn.begin_nested() as savepoint:
        for user_id in decided:
            entitlements.save(conn, "skai", user_id, FREE, 100)
        for user_id in provisioned:
            provisioning.put(conn, "skai", user_id, 100)
        found: list[str] = []
        after = ("", "")
        while page := users.page(conn, UserFilter(), DEFAULT_TIERS, after, size):
            assert len(page) <= size
            found += [each["user_id"] for each in page]
            after = (page[-1]["app_id"], page[-1]["user_id"])
        assert found == sorted(decided | provisioned, key=str.encode)
        savepoint.rollback()
