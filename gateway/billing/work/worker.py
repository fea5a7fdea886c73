"""The work behind requests: route events, refresh users, provision, notify apps, watch the clock.

Every job may run twice.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterable

from gateway.billing.context import Billing
from gateway.billing.events.route import route_events
from gateway.billing.notify.sender import NoticeSender
from gateway.billing.provision.provision import provision
from gateway.billing.refresh.refresh import LEASE_SECONDS, refresh
from gateway.billing.work.clock_watch import ClockWatch
from gateway.billing.work.transaction import Loop, Transaction
from gateway.errors import StoreUnavailable
from gateway.log import fields
from gateway.store import provisioning, refreshes
from gateway.store.refreshes import Lease

log = logging.getLogger(__name__)

MAX_CONCURRENT = 8
POLL_SECONDS = 1.0
PASS_SECONDS = 0.05
"""After a pass that found work the next one of its loop begins no sooner than this: under load each then serves many
events, and webhooks are not kept waiting for the writer. Whoever comes alone waits for nothing."""
DRAIN_SECONDS = 4.0


class Worker:
    """Runs until `stop`; a failing store or a bug in one job stops neither the others nor the loop."""

    def __init__(self, billing: Billing) -> None:
        self._billing = billing
        self._owner = uuid.uuid4().hex
        self._notices = NoticeSender(billing)
        self._clock = ClockWatch(billing)
        self._clock_due = asyncio.Event()
        self._stopping = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []
        # Refreshes of which the store could not say whether they were written.
        self._in_doubt: list[Lease] = []

    async def start(self) -> None:
        # One instance per database: a lease that is still there belongs to a process that is not.
        await self._billing.store.write(refreshes.release_all)
        wakeups = self._billing.wakeups
        self._loops = [
            asyncio.create_task(self._loop("route_events", wakeups[Loop.ROUTE_EVENTS], self._route)),
            asyncio.create_task(self._loop("refresh", wakeups[Loop.REFRESH], self._refresh)),
            asyncio.create_task(self._loop("provision", wakeups[Loop.PROVISION], self._provision)),
            asyncio.create_task(self._loop("notify", wakeups[Loop.NOTIFY], self._notices.turn)),
            asyncio.create_task(self._loop("clock", self._clock_due, self._clock.check)),
        ]

    async def stop(self) -> None:
        """Let what is under way finish, for 4 s at most; what is cut off then is done again at the next start."""
        self._stopping.set()
        self._notices.close()
        for event in (*self._billing.wakeups.values(), self._clock_due):
            event.set()
        work = [*self._loops, *self._notices.tasks]
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
                # Backoffs and timers come due without anybody waking us.
                async with asyncio.timeout(POLL_SECONDS):
                    await wake.wait()
            except TimeoutError:
                continue

    async def _route(self) -> int:
        return await route_events(self._billing)

    async def _refresh(self) -> int:
        leases = await self._billing.write(self._lease)
        self._in_doubt = []
        outcomes = await asyncio.gather(
            *(refresh(self._billing, lease, self._owner) for lease in leases), return_exceptions=True
        )
        failed = [(lease, exc) for lease, exc in zip(leases, outcomes, strict=True) if exc is not None]
        self._in_doubt = [lease for lease, _ in failed]
        for _, exc in failed:
            raise exc
        return len(leases)

    def _lease(self, tx: Transaction) -> list[Lease]:
        """Take what is due. What is in doubt is wanted anew: if it was written, the gate was not told of it."""
        for lease in self._in_doubt:
            refreshes.fail(tx.conn, lease, self._owner, tx.now, "the store was not available")
            tx.want_refresh(lease.app_id, lease.user_id)
        return refreshes.lease(tx.conn, self._owner, tx.now, LEASE_SECONDS, MAX_CONCURRENT)

    async def _provision(self) -> int:
        billing = self._billing
        if billing.litellm is None or billing.recovering:  # old tiers must not be written over newer ones
            return 0
        jobs = await billing.store.read(lambda conn: provisioning.due(conn, billing.now(), MAX_CONCURRENT))
        await _all_of(provision(billing, job) for job in jobs)
        return len(jobs)


async def _all_of(jobs: Iterable[Coroutine[object, object, None]]) -> None:
    """Run every job to its end, then raise the first failure, if any."""
    for outcome in await asyncio.gather(*jobs, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
