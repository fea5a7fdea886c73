"""The interface of a database to the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection, Engine

WRITER = "writer"
READERS = 4
CHANNEL = "skpay_gate_changes"
"""Of PostgreSQL's NOTIFY."""
# A server or network that stops responding is detected in seconds instead of hours.
CONNECTION_TIMEOUTS: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


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

    def announce_in(self, conn: Connection, number: int) -> None:
        """Wake the readers of the change log once this transaction, which assigns `number`, is committed."""

    def announce(self, number: int) -> None:
        """The same, right after the commit. Never raises."""

    def close(self) -> None:
        """Release the lock and all idle connections."""


class InstanceLost(Exception):
    """Another instance has taken the database over. This one must be restarted: its memory may be outdated."""
