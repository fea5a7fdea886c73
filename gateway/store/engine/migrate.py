"""Migrates a database to the newest schema, atomically."""

from __future__ import annotations

from alembic import command
from sqlalchemy import Connection, text

from gateway.store.engine.ownership import check_owner, migration_config

# Any number that no other program uses as a lock on the database.
_POSTGRESQL_LOCK = 0x534B_5041_594D_4947


def migrate(conn: Connection) -> None:
    """Run the missing steps in one transaction, so that a kill leaves nothing half done.

    If several processes start at once, one migrates and the others wait: SQLite's BEGIN IMMEDIATE, PostgreSQL's
    advisory lock. Raises `ConfigError` for a newer version or another program's database, and the driver's errors.
    """
    config = migration_config()
    config.attributes["connection"] = conn
    with conn.begin():
        if conn.dialect.name == "postgresql":
            conn.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _POSTGRESQL_LOCK})
            conn.execute(text("SET LOCAL statement_timeout = 0"))
        check_owner(conn)
        command.upgrade(config, "head")
