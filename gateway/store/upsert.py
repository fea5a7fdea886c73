"""`insert … on conflict`, which SQLite and PostgreSQL spell alike but SQLAlchemy keeps per dialect."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

Insert = sqlite.Insert | postgresql.Insert


def insert(conn: Connection, table: Table) -> Insert:
    """An insert that can say `on_conflict_do_nothing` and `on_conflict_do_update` on this connection's database."""
    return sqlite.insert(table) if conn.dialect.name == "sqlite" else postgresql.insert(table)


def insert_or_update(
    conn: Connection,
    table: Table,
    key: Iterable[str],
    values: Mapping[str, Any],
    update: Callable[[Any], Mapping[str, Any]],
) -> Insert:
    """Insert `values`; where a row with this `key` stands, set what `update(the row not inserted)` returns."""
    statement = insert(conn, table).values(**values)
    return statement.on_conflict_do_update(index_elements=list(key), set_=dict(update(statement.excluded)))
