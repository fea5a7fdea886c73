"""Seconds that a test waited, without those that a busy machine added."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_TICK_SECONDS = 0.01


class Stopwatch:
    """`seconds` since the start, less the delays of this process's event loop."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._late_seconds = 0.0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started - self._late_seconds

    async def tick(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(_TICK_SECONDS)
            self._late_seconds += max(0.0, time.monotonic() - before - 2 * _TICK_SECONDS)


@asynccontextmanager
async def stopwatch() -> AsyncIterator[Stopwatch]:
    """For upper limits of a wait: the delays of a busy machine do not count, the waits of the code do."""
    watch = Stopwatch()
    ticking = asyncio.create_task(watch.tick())
    try:
        yield watch
    finally:
        ticking.cancel()
