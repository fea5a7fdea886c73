"""Carry out what is due: route events, refresh users, provision, notify. Every job is idempotent."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine, Iterable

from gateway.billing.context import Billing
from gateway.billing.events.route import route_events
from gateway.billing.notify.sender import NoticeSender
from gateway.billing.provision.provision import provision
from gateway.billing.refresh.refresh import LEASE_SECONDS, refresh
from gateway.billing.work.transaction import Transaction
from gateway.store import provisioning, refreshes
from gateway.store.provisioning import ProvisioningJob
from gateway.store.refreshes import Lease

MAX_CONCURRENT = 8
OnProvisioningAttempt = Callable[[str, str], None]


def ignore_attempt(app_id: str, user_id: str) -> None:
    """Where no request waits for limits."""


class DueWork:
    """One per process. The worker's loops call the four parts, each its own; `run_due` calls them in turn.

    `on_provisioning_attempt(app_id, user_id)` is called after each attempt to write a user's limits to LiteLLM.
    """

    def __init__(self, billing: Billing, on_provisioning_attempt: OnProvisioningAttempt = ignore_attempt) -> None:
        self.on_provisioning_attempt = on_provisioning_attempt
        self.notices = NoticeSender(billing.work, billing.apps)
        self._billing = billing
        self._owner = uuid.uuid4().hex
        # Refreshes for which the store failed, which may be committed all the same.
        self._in_doubt: list[Lease] = []

    async def run_due(self) -> int:
        """One round of everything that is due, to its end; returns how many jobs there were."""
        jobs = await self.route_events() + await self.refresh() + await self.provision() + await self.notify()
        await asyncio.gather(*self.notices.tasks)
        return jobs

    async def route_events(self) -> int:
        return await route_events(self._billing)

    async def refresh(self) -> int:
        """Refresh a few users at once; raises the first `StoreUnavailable` after all have ended."""
        leases = await self._billing.work.write(self._lease)
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
        """Lease what is due. Refreshes in doubt are repeated: one that was committed did not update the gate."""
        for lease in self._in_doubt:
            refreshes.fail(tx.conn, lease, self._owner, tx.now, "the store was not available")
            tx.want_refresh(lease.app_id, lease.user_id)
        return refreshes.lease(tx.conn, self._owner, tx.now, LEASE_SECONDS, MAX_CONCURRENT)

    async def provision(self) -> int:
        billing = self._billing
        if billing.litellm is None or billing.account.recovering:  # a restored tier must not overwrite newer limits
            return 0
        jobs = await billing.work.read(lambda conn: provisioning.due(conn, billing.work.now(), MAX_CONCURRENT))
        await _all_of(self._provision_one(job) for job in jobs)
        return len(jobs)

    async def _provision_one(self, job: ProvisioningJob) -> None:
        try:
            await provision(self._billing, job)
        finally:
            self.on_provisioning_attempt(job.app_id, job.user_id)

    async def notify(self) -> int:
        """Begin to send the notices that are due. They go on in tasks: a slow app must not delay the others."""
        return await self.notices.turn()


async def _all_of(jobs: Iterable[Coroutine[object, object, None]]) -> None:
    """Run every job to its end, then raise the first failure, if any."""
    for outcome in await asyncio.gather(*jobs, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
