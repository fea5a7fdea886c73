"""Wakes readers of a PostgreSQL database: LISTEN on a connection of its own, reconnected as often as needed."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import psycopg
from sqlalchemy.engine import URL

from gateway.log import fields
from gateway.store.engine.backend import CHANNEL, CONNECTION_TIMEOUTS
from gateway.store.engine.pooler import BACKEND_PID

RECONNECT_SECONDS = 1.0
FALLBACK_SECONDS = 0.1
CANCEL_SECONDS = 0.1

_FIX = "connect to PostgreSQL directly, not through a pooler such as PgBouncer; until then we poll every 100 ms"

log = logging.getLogger(__name__)


class ChangeNotifications:
    """`wait` returns at a notification, at each reconnect, since some may have been lost (T46), and at the timeout.

    Through a pooler, which accepts LISTEN and delivers at most by chance, and while there is no connection, `wait`
    returns after 100 ms.
    """

    def __init__(self, url: URL) -> None:
        self._url = url
        self._woken = asyncio.Event()
        self._delivers = False
        self._reported = False
        self._task = asyncio.create_task(self._listen())

    async def wait(self, timeout_seconds: float) -> None:
        """Until a wake-up since the last `wait`, or until the timeout."""
        timeout = timeout_seconds if self._delivers else min(timeout_seconds, FALLBACK_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._woken.wait()
        self._woken.clear()

    async def close(self) -> None:
        # Before Python 3.12 a cancellation that coincides with a notification is lost in psycopg's asyncio.wait_for.
        while not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task], timeout=CANCEL_SECONDS)

    async def _listen(self) -> None:
        while True:
            try:
                await self._listen_once()
            except (psycopg.Error, OSError) as exc:
                log.warning("change_notifications_lost", extra=fields(detail=type(exc).__name__))
            self._delivers = False
            self._woken.set()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen_once(self) -> None:
        conn = await psycopg.AsyncConnection.connect(
            self._url.set(drivername="postgresql").render_as_string(hide_password=False),
            autocommit=True,
            **CONNECTION_TIMEOUTS,
        )
        async with conn:
            await conn.execute(f"LISTEN {CHANNEL}".encode())
            row = await (await conn.execute(BACKEND_PID)).fetchone()
            self._delivers = row is not None and row[0] == conn.info.backend_pid
            if self._delivers:
                self._reported = False
            elif not self._reported:
                self._reported = True
                log.warning("change_notifications_not_delivered", extra=fields(fix=_FIX))
            self._woken.set()
            async for _ in conn.notifies():
                self._woken.set()
