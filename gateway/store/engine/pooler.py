"""Recognises a connection pooler, such as PgBouncer, between us and PostgreSQL."""

from __future__ import annotations

from typing import Any

import psycopg
from sqlalchemy import Connection

from gateway.errors import ConfigError

BACKEND_PID = "SELECT pg_backend_pid()"
_REFUSES_OPTIONS = "unsupported startup parameter"


def is_pooled(conn: psycopg.Connection[Any]) -> bool:
    """Whether the next transaction may have another session of the server. A pooler answers the start of a connection
    itself, with a process id of its own. Call it outside a transaction."""
    autocommit, conn.autocommit = conn.autocommit, True
    try:
        row = conn.execute(BACKEND_PID).fetchone()
    finally:
        conn.autocommit = autocommit
    return row is None or row[0] != conn.info.backend_pid


def refuse_pooler(where: str, conn: psycopg.Connection[Any]) -> None:
    """Raises `ConfigError` if `conn` leads through one: the lock against a second instance is one of the session."""
    if is_pooled(conn):
        raise ConfigError(
            [
                f"DATABASE_URL: {where} is a connection pooler, such as PgBouncer, and our lock on the database would "
                "be shared; connect to PostgreSQL directly (skpay gate serve may use a pooler)"
            ]
        )


def driver_connection(conn: Connection) -> psycopg.Connection[Any]:
    """The connection of the driver below one of SQLAlchemy's."""
    found = conn.connection.driver_connection
    if not isinstance(found, psycopg.Connection):
        raise TypeError(type(found))
    return found


def connect_reader(**parameters: Any) -> psycopg.Connection[Any]:
    """A connection that cannot write, also through a pooler: whatever belongs to a session is left out there."""
    try:
        conn = psycopg.connect(**parameters)
    except psycopg.OperationalError as exc:
        if _REFUSES_OPTIONS not in str(exc):
            raise
        del parameters["options"]
        conn = psycopg.connect(**parameters)
    if is_pooled(conn):
        conn.prepare_threshold = None
    conn.read_only = True  # said at the beginning of each transaction
    return conn
