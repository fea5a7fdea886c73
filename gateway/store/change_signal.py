"""Wakes a reader of the change log."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from gateway.log import fields
from gateway.store.engine.change_notifications import ChangeNotifications
from gateway.store.engine.change_sockets import ChangeSocket, folder_of
from gateway.store.engine.sqlite import file_of
from gateway.store.store import store_url

FALLBACK_SECONDS = 0.1

log = logging.getLogger(__name__)


class ChangeSignal(Protocol):
    """A wake-up carries nothing and may be lost: the reader reads after every `wait`, whatever ended it (T46)."""

    async def wait(self, timeout_seconds: float) -> None:
        """Until a commit with changes since the last `wait`, or until the timeout."""

    async def close(self) -> None: ...


class Polling:
    """Where no wake-ups are possible."""

    async def wait(self, timeout_seconds: float) -> None:
        await asyncio.sleep(min(timeout_seconds, FALLBACK_SECONDS))

    async def close(self) -> None:
        """Nothing is open."""


def change_signal(database_url: str) -> ChangeSignal:
    """Of the database that DATABASE_URL names. Call it on the event loop. Raises `ConfigError`."""
    url = store_url(database_url)
    if url.drivername != "sqlite":
        return ChangeNotifications(url)
    path, _ = file_of(url)
    try:
        return ChangeSocket(folder_of(path))
    except OSError as exc:
        # A folder that this user may not write in, or a file system without sockets.
        log.warning("change_socket_failed", extra=fields(folder=str(folder_of(path)), detail=exc.strerror))
        return Polling()
