"""Transactions of the store with the effects that follow them, and the clock that both read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy import Connection

from gateway.billing.work.transaction import Job, Transaction, Wakeups, new_wakeups
from gateway.store import Store, gate_changes

T = TypeVar("T")


async def _no_gate() -> None:
    """Where this process has no gate."""


@dataclass(slots=True)
class UnitOfWork:
    """One per process; `write` runs one transaction.

    `follow_changes()` is awaited after a commit that alters an answer of the gate; it brings the gate of this process
    up to date. It does not raise: an exception would lose the effects of a committed write. `monotonic`: seconds that
    pass even when `clock` is set.
    """

    store: Store
    clock: Callable[[], float]
    follow_changes: Callable[[], Awaitable[None]] = _no_gate
    monotonic: Callable[[], float] = time.monotonic
    wakeups: Wakeups = field(default_factory=new_wakeups)
    started_at: int = field(init=False)

    def __post_init__(self) -> None:
        self.started_at = self.now()

    def now(self) -> int:
        """Epoch seconds."""
        return int(self.clock())

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run `query` on one snapshot of the committed data. Raises `StoreUnavailable`."""
        return await self.store.read(query)

    async def write(self, job: Job[T]) -> T:
        """Run `job` in one transaction of the store, then perform its effects; both are done when this returns.

        Cancelling stops neither. A job that raises is rolled back and has no effects. After `StoreUnavailable` the rows
        may be committed all the same, but no effect was performed: a repeated job must have all of them.
        """
        return await asyncio.shield(asyncio.create_task(self._write(job)))

    async def _write(self, job: Job[T]) -> T:
        def run(conn: Connection) -> tuple[T, Transaction, bool]:
            tx, recorded = Transaction(conn, self.now()), gate_changes.recorded(conn)
            return job(tx), tx, gate_changes.recorded(conn) > recorded

        value, tx, alters_gate = await self.store.write(run)
        if alters_gate:  # first: requests must not wait for the log
            await self.follow_changes()
        tx.effects.perform(self.wakeups)
        return value
