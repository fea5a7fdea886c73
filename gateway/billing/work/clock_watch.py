"""Detect that this machine's clock was set or differs from Stripe's, and correct what depends on it."""

from __future__ import annotations

import logging
from functools import partial

from gateway.billing.context import Billing
from gateway.billing.work.alerting import open_alert, resolve_alert
from gateway.billing.work.retry import MAX_SECONDS
from gateway.billing.work.transaction import Loop, Transaction
from gateway.log import fields
from gateway.store import clock, entitlements

log = logging.getLogger(__name__)

JUMP_SECONDS = 2
"""A larger change between wall clock and monotonic clock means that the clock was set: NTP slews both alike."""
MAX_SKEW_SECONDS = 60
SETTLED_SECONDS = 600
"""The alert is resolved this long after the last jump."""
USERS_A_WRITE = 500


class ClockWatch:
    """Compares the clocks in each `check`, once a second. After `StoreUnavailable` the next check repeats the work."""

    def __init__(self, billing: Billing) -> None:
        self._billing = billing
        self._ahead = self._ahead_now()
        self._begun = False
        self._settled_at: float | None = billing.work.monotonic() + SETTLED_SECONDS
        self._differs: bool | None = None

    async def check(self) -> int:
        """Return 0: the worker's loop need not continue at once. Raises `StoreUnavailable`."""
        if not self._begun:
            await self._begin()
        jump_seconds = round(self._ahead_now() - self._ahead)
        if abs(jump_seconds) >= JUMP_SECONDS:
            await self._after_jump(jump_seconds)
        elif self._settled_at is not None and self._billing.work.monotonic() >= self._settled_at:
            await resolve_alert(self._billing.work, "clock_jumped", "clock")
            self._settled_at = None
        await self._compare_with_stripe()
        return 0

    def _ahead_now(self) -> float:
        """Seconds from the monotonic clock to the wall clock; constant unless the clock is set."""
        return self._billing.work.clock() - self._billing.work.monotonic()

    async def _begin(self) -> None:
        """Correct what was stored by a clock that was wrong before the start."""
        billing = self._billing
        await self._refresh_decided_in_future()
        await billing.work.write(lambda tx: clock.end_impossible_waits(tx.conn, tx.now, MAX_SECONDS))
        self._begun = True

    async def _after_jump(self, jump_seconds: int) -> None:
        billing = self._billing
        log.warning("clock_jumped", extra=fields(jump_seconds=jump_seconds))
        billing.account.unknown_customers.clear()  # they expire by the clock that was set
        await self._refresh_decided_in_future()
        await open_alert(billing.work, "clock_jumped", "clock", self._message(jump_seconds))
        await billing.work.write(partial(_shift_waits, seconds=jump_seconds))
        self._ahead += jump_seconds
        self._settled_at = billing.work.monotonic() + SETTLED_SECONDS

    async def _refresh_decided_in_future(self) -> None:
        """Refresh every user with a tier decided at a time in the future: it may have ended too early.

        After a jump forward nothing is needed: timers come due.
        """
        billing = self._billing
        users = await billing.work.read(partial(entitlements.decided_after, now=billing.work.now()))
        for start in range(0, len(users), USERS_A_WRITE):
            await billing.work.write(partial(_want_all, users=users[start : start + USERS_A_WRITE]))

    async def _compare_with_stripe(self) -> None:
        ahead = self._billing.stripe.clock_ahead_seconds
        if ahead is None or (differs := abs(ahead) > MAX_SKEW_SECONDS) == self._differs:
            return
        if differs:
            message = f"this machine's clock is {_apart(ahead)}: set it, and keep it by NTP"
            await open_alert(self._billing.work, "clock_wrong", "stripe", message)
        else:
            await resolve_alert(self._billing.work, "clock_wrong", "stripe")
        self._differs = differs

    def _message(self, jump_seconds: int) -> str:
        before = self._billing.stripe.clock_ahead_seconds
        known = "" if before is None else f"; it is {_apart(before + jump_seconds)} now"
        way = "forward" if jump_seconds > 0 else "back"
        return (
            f"this machine's clock was set {abs(jump_seconds)} s {way}, or the machine slept{known}; everything that "
            "depends on the time was checked; keep the clock by NTP"
        )


def _apart(ahead: int) -> str:
    return f"{abs(ahead)} s {'ahead of' if ahead >= 0 else 'behind'} Stripe's"


def _shift_waits(tx: Transaction, *, seconds: int) -> None:
    clock.shift_waits(tx.conn, tx.now, seconds)
    tx.wake(*Loop)


def _want_all(tx: Transaction, *, users: list[tuple[str, str]]) -> None:
    for app_id, user_id in users:
        tx.want_refresh(app_id, user_id)
