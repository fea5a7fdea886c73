"""Which program and version a database belongs to: none, SKPayments of this, an older or a newer version, another."""

from __future__ import annotations

import sqlite3
from collections.abc import Set as AbstractSet
from pathlib import Path
from urllib.parse import quote

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, pool, text

from gateway.errors import ConfigError

_FOLDER = Path(__file__).parents[1] / "migrations"
_OURS = {"instance", "inbox", "entitlements"}
_VERSION = "alembic_version"
# PostGIS creates it in each database that has the extension.
_OF_EXTENSIONS = {"spatial_ref_sys"}
_SHOWN = 4


def check_owner(conn: Connection) -> None:
    """Raises `ConfigError` for a database that `migrate` must not touch. Reads only."""
    tables = set(inspect(conn).get_table_names()) - _OF_EXTENSIONS
    if not tables:
        return
    revisions = set()
    if _VERSION in tables:
        revisions = set(conn.execute(text("SELECT version_num FROM alembic_version")).scalars())
        known = {step.revision for step in ScriptDirectory.from_config(migration_config()).walk_revisions()}
        if revisions <= known:
            return
    if tables >= _OURS:
        raise ConfigError(
            [
                "DATABASE_URL: this database was written by a newer version of SKPayments;"
                " install that version, or restore a backup made by this one"
            ]
        )
    raise ConfigError(
        [
            f"DATABASE_URL: this database belongs to another program ({_program(tables)});"
            " give SKPayments a database of its own"
        ]
    )


def check_owner_of_file(path: Path) -> None:
    """`check_owner` for a SQLite file that may not exist; opened read-only, because a writer would switch it to WAL.

    Raises the driver's errors too.
    """
    if not path.exists():
        return
    engine = create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(f"file://{quote(str(path))}?mode=ro", uri=True),
        poolclass=pool.NullPool,
    )
    with engine.connect() as conn:
        check_owner(conn)


def migration_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    return config


def newest_revision() -> str:
    """The schema version that this program writes."""
    return str(ScriptDirectory.from_config(migration_config()).get_current_head())


def _program(tables: AbstractSet[str]) -> str:
    if {"auth", "chat"} <= tables:
        return "Open WebUI"
    if any(name.startswith("LiteLLM_") for name in tables):
        return "LiteLLM"
    names = sorted(tables - {_VERSION}) or [_VERSION]
    more = ", …" if len(names) > _SHOWN else ""
    return f"it has the tables {', '.join(names[:_SHOWN])}{more}"
