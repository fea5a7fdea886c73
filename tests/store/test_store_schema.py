"""The migrations create the schema; hot queries use its indexes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Text, event, inspect, text

from gateway.store import (
    customers,
    disputes,
    entitlements,
    grants,
    inbox,
    keys,
    last_good,
    notices,
    provisioning,
    refreshes,
)
from gateway.store.columns import metadata


def test_the_migrations_make_exactly_the_schema(conn: Connection) -> None:
    context = MigrationContext.configure(conn, opts={"compare_type": True, "compare_server_default": True})
    assert compare_metadata(context, metadata) == []


def test_the_migrations_make_the_primary_keys_of_the_schema(conn: Connection) -> None:
    """`compare_metadata` does not compare them."""
    declared = {table.name: [column.name for column in table.primary_key] for table in metadata.tables.values()}
    made = {name: inspect(conn).get_pk_constraint(name)["constrained_columns"] for name in declared}
    assert made == declared


@pytest.mark.parametrize("conn", [pytest.param("postgresql", marks=pytest.mark.needs_postgresql)], indirect=True)
def test_postgresql_compares_every_text_by_its_bytes(conn: Connection) -> None:
    declared = {
        (table.name, column.name): column.type.compile(dialect=conn.dialect)
        for table in metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, Text)
    }
    assert set(declared.values()) == {'TEXT COLLATE "C"'}
    made = conn.execute(
        text(
            "SELECT table_name, column_name, collation_name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND data_type = 'text'"
        )
    )
    assert {(row.table_name, row.column_name): row.collation_name for row in made} == dict.fromkeys(declared, "C")


def test_a_tier_change_belongs_to_an_entitlement(conn: Connection) -> None:
    keys_of = conn.dialect.get_foreign_keys(conn, "tier_changes")
    assert [key["referred_table"] for key in keys_of] == ["entitlements"]


HOT = {
    "inbox.waiting": lambda conn: inbox.waiting(conn, 100, 10),
    "inbox.get": lambda conn: inbox.get(conn, "", "evt_1"),
    "inbox.recent": lambda conn: inbox.recent(conn, 10),
    "inbox.recent of a user": lambda conn: inbox.recent(conn, 10, "skai", "u1"),
    "inbox.count_waiting": inbox.count_waiting,
    "refreshes.lease": lambda conn: refreshes.lease(conn, "me", 100, 60, 10),
    "refreshes.count_waiting": refreshes.count_waiting,
    "last_good.of_user": lambda conn: last_good.of_user(conn, "skai", "u1"),
    "provisioning.due": lambda conn: provisioning.due(conn, 100, 10),
    "provisioning.counts": provisioning.counts,
    "provisioning.get": lambda conn: provisioning.get(conn, "skai", "u1"),
    "notices.due": lambda conn: notices.due(conn, 100, 10, busy_apps=["skai"], under_way=["a", "b"]),
    "notices.counts": notices.counts,
    "notices.failing": lambda conn: notices.failing(conn, "skai", 5),
    "notices.of_user": lambda conn: notices.of_user(conn, "skai", "u1", 10),
    "notices.recent": lambda conn: notices.recent(conn, 10),
    "disputes.of_user": lambda conn: disputes.of_user(conn, "skai", "u1"),
    "notices.replay_dead": lambda conn: notices.replay_dead(conn, "skai", 100),
    "entitlements.get": lambda conn: entitlements.get(conn, "skai", "u1"),
    "entitlements.changes": lambda conn: entitlements.changes(conn, "skai", "u1", 10),
    "entitlements.tiers_in_use": entitlements.tiers_in_use,
    "entitlements.users_of_tier": lambda conn: entitlements.users_of_tier(conn, "skai", "pro", "", 10),
    "customers.of_user": lambda conn: customers.of_user(conn, "skai", "u1"),
    "customers.newest": customers.newest,
    "grants.live": lambda conn: grants.live(conn, "skai", "u1", 100),
    "keys.all_ of an app": lambda conn: keys.all_(conn, "skai"),
}


@pytest.mark.parametrize("query", HOT.values(), ids=HOT.keys())
@pytest.mark.parametrize("conn", ["sqlite"], indirect=True)
def test_a_hot_query_scans_no_whole_table(conn: Connection, query: Callable[[Connection], object]) -> None:
    with _statements(conn) as statements:
        query(conn)
    assert statements
    for statement, parameters in statements:
        for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters):
            assert "SCAN" not in row.detail or "USING" in row.detail, f"{row.detail}: {statement}"


@contextmanager
def _statements(conn: Connection) -> Iterator[list[tuple[str, tuple[object, ...]]]]:
    statements: list[tuple[str, tuple[object, ...]]] = []

    def listen(_conn: object, _cursor: object, statement: str, parameters: tuple[object, ...], *_: object) -> None:
        statements.append((statement, parameters))

    event.listen(conn, "before_cursor_execute", listen)
    try:
        yield statements
    finally:
        event.remove(conn, "before_cursor_execute", listen)


@pytest.mark.parametrize("conn", ["sqlite"], indirect=True)
def test_sqlite_syncs_every_commit_and_checks_foreign_keys(conn: Connection) -> None:
    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    assert {name: conn.execute(text(f"PRAGMA {name}")).scalar_one() for name in expected} == expected
