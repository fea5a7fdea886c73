"""What a database must offer to the store."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, Engine

WRITER = "writer"


class Backend(Protocol):
    """SQLite or PostgreSQL: connections with our settings, and the lock that keeps a second instance out.

    `where` names the database for an operator and holds no password. `folder` holds its files, None if no folder of
    this machine does.
    """

    where: str
    folder: Path | None
    reader: Engine

    def connect_writer(self) -> Connection:
        """A connection that may write, while this instance holds the lock.

        Raises `ConfigError` at the first call if another instance runs, `InstanceLost` at a later one if another
        took over, and the driver's errors.
        """

    def started(self, conn: Connection) -> None:
        """The schema is there: sign the database as this instance's, under `WRITER`."""

    def close(self) -> None:
        """Release the lock and every connection that is not in use."""


class InstanceLost(Exception):
    """Another instance has taken this database over: what this one remembers may be wrong, so it must be restarted."""
