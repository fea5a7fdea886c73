"""Brings a database to the newest schema, whole or not at all."""

from __future__ import annotations

from alembic import command
from sqlalchemy import Connection, text

from gateway.store.engine.ownership import check_owner, migration_config

# Any number that no other program on the database takes.
_POSTGRESQL_LOCK = 0x534B_5041_594D_4947


def migrate(conn: Connection) -> None:
    """Run what is missing, in one transaction: nothing is half done after a kill, and of several processes that start
    at once one does it while the others wait, by SQLite's BEGIN IMMEDIATE or PostgreSQL's advisory lock.

    Raises `ConfigError` if the database is of a newer version or another program's, and the driver's errors.
    """
    config = migration_config()
    config.attributes["connection"] = conn
    with conn.begin():
        if conn.dialect.name == "postgresql":
            conn.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _POSTGRESQL_LOCK})
            conn.execute(text("SET LOCAL statement_timeout = 0"))
        check_owner(conn)
        command.upgrade(config, "head")
