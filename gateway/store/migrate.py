"""Brings a database to the newest schema, whole or not at all."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, text

from gateway.errors import ConfigError

_FOLDER = Path(__file__).parent / "migrations"
# Any number that no other program on the database takes.
_POSTGRESQL_LOCK = 0x534B_5041_594D_4947


def migrate(conn: Connection) -> None:
    """Run what is missing, in one transaction: nothing is half done after a kill, and of several processes that start
    at once one does it while the others wait, by SQLite's BEGIN IMMEDIATE or PostgreSQL's advisory lock.

    Raises `ConfigError` if the database is of a newer version, and the driver's errors.
    """
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = conn
    with conn.begin():
        if conn.dialect.name == "postgresql":
            conn.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _POSTGRESQL_LOCK})
            conn.execute(text("SET LOCAL statement_timeout = 0"))
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise ConfigError(
                [
                    "DATABASE_URL: this database was written by a newer version of SKPayments;"
                    " install that version, or restore a backup made by this one"
                ]
            ) from error
