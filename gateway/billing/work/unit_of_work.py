"""Transactions of the store with the effects that follow them, and the clock that both read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy import Connection

from gateway.billing.work.transaction import ForgetInGate, Job, Transaction, UpdateGate, Wakeups, new_wakeups
from gateway.store import Store

T = TypeVar("T")


def _ignore_update(app_id: str, user_id: str, tier_id: str, changes_at: int | None) -> None:
    """Where there is no gate."""


def _ignore_user(app_id: str, user_id: str) -> None:
    """Where there is no gate."""


@dataclass(slots=True)
class UnitOfWork:
    """One per process; `write` runs one transaction.

    `update_gate(app_id, user_id, tier, changes_at)` is called after a tier is committed, on the event loop;
    `changes_at` is when the clock alone will change it. `forget_in_gate(app_id, user_id)` is called after a user was
    deleted. `monotonic`: seconds that pass even when `clock` is set.
    """

    store: Store
    clock: Callable[[], float]
    update_gate: UpdateGate = _ignore_update
    forget_in_gate: ForgetInGate = _ignore_user
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
        def run(conn: Connection) -> tuple[T, Transaction]:
            tx = Transaction(conn, self.now())
            return job(tx), tx

        value, tx = await self.store.write(run)
        tx.effects.perform(self.wakeups, self.update_gate, self.forget_in_gate)
        return value
