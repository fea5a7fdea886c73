"""The interface of a database to the store."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, Engine

WRITER = "writer"


class Backend(Protocol):
    """SQLite or PostgreSQL: connections with our settings, and the lock against a second instance.

    `where` names the database for the operator, without a password. `folder` contains its files, None for a server.
    """

    where: str
    folder: Path | None
    reader: Engine

    def connect_writer(self) -> Connection:
        """A connection that may write, with the lock held.

        Raises `AlreadyRunning` at the first call if another instance runs, `InstanceLost` at a later call if another
        has taken over, and the driver's errors.
        """

    def started(self, conn: Connection) -> None:
        """After the migration: mark the database as this instance's, under `WRITER`."""

    def close(self) -> None:
        """Release the lock and all idle connections."""


class InstanceLost(Exception):
    """Another instance has taken the database over. This one must be restarted: its memory may be outdated."""
