"""A SQLite database of the newest schema: migrated once in this process, copied for each test that opens it."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from gateway.store.engine.migrate import migrate
from gateway.store.engine.sqlite import SQLite
from gateway.store.store import store_url


def create_database(path: Path) -> None:
    """Put an empty database there, unless there is one. Opening it finds nothing to migrate."""
    if not path.exists():
        path.write_bytes(_migrated())


@functools.cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "new.db"
        backend = SQLite(store_url(f"sqlite:///{path}"))
        with backend.connect_writer() as connection:
            migrate(connection)
        backend.close()
        return path.read_bytes()
