"""Send due notices concurrently, with a limit for each app, so that a slow app does not delay the others."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

from gateway.billing.installed_apps import InstalledApps
from gateway.billing.notify.notices import notify
from gateway.billing.work.transaction import Loop
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.log import fields
from gateway.store import notices
from gateway.store.notices import Notice

log = logging.getLogger(__name__)

MAX_CONCURRENT, MAX_CONCURRENT_PER_APP = 32, 8
AFTER_A_BUG_SECONDS = 60.0


class NoticeSender:
    """Sends due notices in tasks. One per process: only this object knows which are being sent."""

    def __init__(self, work: UnitOfWork, apps: InstalledApps) -> None:
        self._work = work
        self._apps = apps
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._of_app: Counter[str] = Counter()
        self._closed = False

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """The notices being sent."""
        return list(self._under_way.values())

    def close(self) -> None:
        """Start no more; running tasks continue."""
        self._closed = True

    async def turn(self) -> int:
        """Start sending due notices up to the limits; how many. The end of each wakes the `notify` loop."""
        begun_in_all = 0
        while room := MAX_CONCURRENT - len(self._under_way):
            found = await self._due(room)
            begun = 0 if self._closed else sum(self._begin(notice) for notice in found)
            if not begun:
                break
            begun_in_all += begun
        return begun_in_all

    async def _due(self, room: int) -> list[Notice]:
        now, under_way = self._work.now(), list(self._under_way)
        busy = [app_id for app_id, count in self._of_app.items() if count >= MAX_CONCURRENT_PER_APP]
        return await self._work.read(lambda conn: notices.due(conn, now, room, busy_apps=busy, under_way=under_way))

    def _begin(self, notice: Notice) -> bool:
        if self._of_app[notice.app_id] >= MAX_CONCURRENT_PER_APP:
            return False
        self._of_app[notice.app_id] += 1
        task = self._under_way[notice.change_id] = asyncio.create_task(self._send(notice))
        task.add_done_callback(lambda _: self._ended(notice))
        return True

    async def _send(self, notice: Notice) -> None:
        try:
            await notify(self._work, self._apps, notice)
        except Exception:
            log.exception("worker_loop_failed", extra=fields(loop="notify", change_id=notice.change_id))
            # It is still due: without a pause it would be sent in a tight loop.
            await asyncio.sleep(AFTER_A_BUG_SECONDS)

    def _ended(self, notice: Notice) -> None:
        del self._under_way[notice.change_id]
        self._of_app[notice.app_id] -= 1
        if not self._of_app[notice.app_id]:
            del self._of_app[notice.app_id]
        self._work.wakeups[Loop.NOTIFY].set()
