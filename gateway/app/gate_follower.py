"""Keeps a gate equal to the store: everything at the start, then each change of the log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from sqlalchemy import Connection

from gateway.errors import StoreUnavailable
from gateway.log import fields
from gateway.store import entitlements, gate_changes
from gateway.store.change_signal import ChangeSignal
from gateway.store.gate_changes import ChangeKind, GateChange
from gateway.store.reader import Reads

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
STALE_SECONDS = 30.0
"""A restart or failover of the database takes less."""
CHANGES_A_READ = 500

User = tuple[str, str]


class FollowedGate(Protocol):
    """What the changes are applied to."""

    def set_tier(self, app_id: str, user_id: str, tier_id: str, changes_at: int | None) -> None:
        """This user's tier from the next request on, and the epoch second at which the clock alone changes it."""

    def forget_user(self, app_id: str, user_id: str) -> None:
        """The store has no entitlement of this user any more."""

    async def load_keys(self) -> None:
        """Install the live API keys. Raises `StoreUnavailable`."""

    async def load_all(self) -> None:
        """Install keys and tiers of all users. Raises `StoreUnavailable`."""

    def begin(self, epoch: str, number: int) -> None:
        """Everything up to this change of the log has been loaded, or will be before the first answer."""

    def applied(self, number: int, changes: Sequence[GateChange]) -> None:
        """`changes`, up to `number`, have just been applied, synchronously with the last of them."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """`tiers`: of each user that changed, None if there is no entitlement. `number`, `last`: up to which change, and
    the last one there is. `complete` False: changes are missing, so everything must be loaded."""

    epoch: str
    number: int
    last: int
    complete: bool = True
    tiers: dict[User, tuple[str, int | None] | None] | None = None
    changes: Sequence[GateChange] = ()


class GateFollower:
    """`number` is the last change applied, of `epoch`. `read_at`: every change committed before this epoch second has
    been applied. One reader of the log at a time.

    Constructed before the gate, which is attached before anything is loaded: until then there is nothing to update.
    """

    def __init__(self, store: Reads, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._gate: FollowedGate | None = None
        self._reading = asyncio.Lock()
        self.epoch = ""
        self.number = 0
        self.read_at = 0.0
        self.problem = ""

    async def begin(self, gate: FollowedGate) -> None:
        """Follow from here on; call it before the first load. Raises `StoreUnavailable`."""
        read_at = self._clock()
        self.begin_at(gate, *await self._store.read(_position), read_at)

    def begin_at(self, gate: FollowedGate, epoch: str, number: int, read_at: float) -> None:
        """Follow from a position that the gate had at `read_at`. If the database has another epoch, or has purged the
        changes since, everything is loaded."""
        self.epoch, self.number, self.read_at, self._gate = epoch, number, read_at, gate
        gate.begin(epoch, number)

    @property
    def stale(self) -> str:
        """The problem, for the operator, if changes have not been read for 30 s; else ''."""
        seconds = int(self._clock() - self.read_at)
        if seconds < STALE_SECONDS:
            return ""
        return f"no change of a tier or key was read for {seconds} s: {self.problem or 'the database does not answer'}"

    async def after_commit(self) -> None:
        """`catch_up` after a commit, which has succeeded even if this fails. It does not raise; `run` repeats it."""
        try:
            await self.catch_up()
        except StoreUnavailable:
            return
        except Exception:
            log.exception("gate_changes_failed")

    async def catch_up(self) -> None:
        """Apply every change that was committed before the call. Raises `StoreUnavailable`."""
        async with self._reading:
            began = self._clock()
            while self._gate is not None:
                batch = await self._store.read(partial(_read, epoch=self.epoch, number=self.number))
                if not batch.complete:
                    log.warning("gate_reloaded", extra=fields(number=self.number, last=batch.last))
                    await self._load_all(self._gate)
                    self.read_at = began
                    return
                await self._apply(self._gate, batch)
                if self.number >= batch.last:
                    self.read_at = began
                    return

    async def run(self, signal: ChangeSignal) -> None:
        """Catch up at each wake-up and once a second, without end. While the store is away, the gate stays as it is."""
        while True:
            try:
                await self.catch_up()
                if self.problem:
                    log.info("gate_changes_read_again", extra=fields(epoch=self.epoch, number=self.number))
                self.problem = ""
            except StoreUnavailable as exc:
                if not self.problem:
                    log.warning("gate_changes_not_read", extra=fields(detail=exc.detail))
                self.problem = exc.detail
                await asyncio.sleep(POLL_SECONDS)
            await signal.wait(POLL_SECONDS)

    async def _load_all(self, gate: FollowedGate) -> None:
        # The position first: what is committed during the load is applied once more after it.
        epoch, number = await self._store.read(_position)
        await gate.load_all()
        self.epoch, self.number = epoch, number
        gate.begin(epoch, number)

    async def _apply(self, gate: FollowedGate, batch: _Batch) -> None:
        if any(change.kind == ChangeKind.KEYS for change in batch.changes):
            await gate.load_keys()
        for (app_id, user_id), tier in (batch.tiers or {}).items():
            if tier is None:
                gate.forget_user(app_id, user_id)
            else:
                gate.set_tier(app_id, user_id, *tier)
        self.number = batch.number
        gate.applied(batch.number, batch.changes)


def _position(conn: Connection) -> tuple[str, int]:
    return gate_changes.epoch(conn), gate_changes.last_number(conn)


def _read(conn: Connection, epoch: str, number: int) -> _Batch:
    """The next changes after `number`, with the values of this moment."""
    current, last = _position(conn)
    changes = gate_changes.after(conn, number, CHANGES_A_READ) if epoch == current else None
    if changes is None or any(change.kind == ChangeKind.ALL for change in changes):
        return _Batch(current, number, last, complete=False)
    # In the order of the log.
    users = dict.fromkeys((change.app_id, change.user_id) for change in changes if change.kind == ChangeKind.TIER)
    return _Batch(
        current,
        changes[-1].number if changes else number,
        last,
        tiers=users | entitlements.at_gate(conn, users),
        changes=changes,
    )
