"""The worker: one loop for each kind of due work, and one that watches the clock."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from gateway.billing.context import Billing
from gateway.billing.work.clock_watch import ClockWatch
from gateway.billing.work.due_work import DueWork, OnProvisioningAttempt, ignore_attempt
from gateway.billing.work.transaction import Loop
from gateway.errors import StoreUnavailable
from gateway.log import fields
from gateway.store import refreshes

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
PASS_SECONDS = 0.05
"""Minimum time between the starts of two passes that find work: under load one pass then serves many events, and
webhooks do not queue behind the worker's writes. A single event is not delayed."""
DRAIN_SECONDS = 4.0


class Worker:
    """Runs until `stop`. A store outage or an internal error in one job stops neither the other jobs nor the loop."""

    def __init__(self, billing: Billing, on_provisioning_attempt: OnProvisioningAttempt = ignore_attempt) -> None:
        self._billing = billing
        self._due = DueWork(billing, on_provisioning_attempt)
        self._clock = ClockWatch(billing)
        self._clock_due = asyncio.Event()
        self._stopping = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        # One instance per database: a lease that is still there belongs to a process that has ended.
        await self._billing.work.store.write(refreshes.release_all)
        due = self._due
        passes: dict[Loop, Callable[[], Awaitable[int]]] = {
            Loop.ROUTE_EVENTS: due.route_events,
            Loop.REFRESH: due.refresh,
            Loop.PROVISION: due.provision,
            Loop.NOTIFY: due.notify,
        }
        self._loops = [
            *(
                asyncio.create_task(self._loop(loop, self._billing.work.wakeups[loop], once))
                for loop, once in passes.items()
            ),
            asyncio.create_task(self._loop("clock", self._clock_due, self._clock.check)),
        ]

    async def stop(self) -> None:
        """Let running jobs finish, for 4 s at most; what is cancelled then is repeated after the next start."""
        self._stopping.set()
        self._due.notices.close()
        for event in (*self._billing.work.wakeups.values(), self._clock_due):
            event.set()
        work = [*self._loops, *self._due.notices.tasks]
        if work:
            _, late = await asyncio.wait(work, timeout=DRAIN_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    async def _loop(self, name: str, wake: asyncio.Event, once: Callable[[], Awaitable[int]]) -> None:
        while not self._stopping.is_set():
            wake.clear()
            began = asyncio.get_running_loop().time()
            try:
                if await once():
                    await asyncio.sleep(began + PASS_SECONDS - asyncio.get_running_loop().time())
                    continue
            except StoreUnavailable as exc:
                log.warning("worker_waits_for_store", extra=fields(loop=name, detail=exc.detail))
                await asyncio.sleep(POLL_SECONDS)
            except Exception:
                log.exception("worker_loop_failed", extra=fields(loop=name))
                await asyncio.sleep(POLL_SECONDS)
            try:
                # Backoffs and timers come due without a wake-up.
                async with asyncio.timeout(POLL_SECONDS):
                    await wake.wait()
            except TimeoutError:
                continue
