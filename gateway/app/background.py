"""Background tasks by name; a failure is logged and never ends one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from gateway.errors import SkpayError
from gateway.log import fields

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0

Work = Callable[[], Awaitable[None]]


class Background:
    """Runs each task until it returns. A task that fails is logged and restarted after a second."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, work: Work) -> None:
        """Start `work`, replacing the task of this name."""
        earlier = self._tasks.get(name)
        if earlier is not None:
            earlier.cancel()
        self._tasks[name] = asyncio.create_task(_until_done(name, work), name=name)

    async def stop(self) -> None:
        """Cancel every task and wait until it has ended. Idempotent."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _until_done(name: str, work: Work) -> None:
    while True:
        try:
            await work()
            return
        except SkpayError as exc:
            log.warning("background_work_deferred", extra=fields(work=name, detail=exc.detail or exc.message))
        except Exception:
            log.exception("background_work_failed", extra=fields(work=name))
        await asyncio.sleep(RETRY_SECONDS)
