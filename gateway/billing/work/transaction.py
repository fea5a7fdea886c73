"""A transaction of the store together with the effects that follow its commit.

A job writes rows through `conn` or through the methods here, in the writer's thread. The methods also collect effects:
log lines of alerts and wake-ups of the worker. They are performed on the event loop after the commit,
and not at all if the job is rolled back or the commit fails.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from sqlalchemy import Connection

from gateway.log import fields
from gateway.store import alerts, notices, provisioning, refreshes
from gateway.store.entitlements import Change
from gateway.tiers.model import Concern

T = TypeVar("T")

log = logging.getLogger(__name__)


class Loop(StrEnum):
    """The worker's loops that carry out stored work."""

    ROUTE_EVENTS = "route_events"
    REFRESH = "refresh"
    PROVISION = "provision"
    NOTIFY = "notify"


Wakeups = Mapping[Loop, asyncio.Event]
"""Set when a loop has new work. A loop polls as well, so a missing wake-up delays work and loses none."""


def new_wakeups() -> Wakeups:
    return {loop: asyncio.Event() for loop in Loop}


@dataclass(slots=True)
class Effects:
    """What to do after the commit."""

    wake: set[Loop] = field(default_factory=set)
    opened: list[Concern] = field(default_factory=list)
    resolved: list[tuple[str, str]] = field(default_factory=list)

    def perform(self, wakeups: Wakeups) -> None:
        """Call once, after the commit."""
        for loop in self.wake:
            wakeups[loop].set()
        for each in self.opened:
            log.error("alert_opened", extra=fields(kind=each.kind, subject=each.subject, message=each.message))
        for kind, subject in self.resolved:
            log.info("alert_resolved", extra=fields(kind=kind, subject=subject))


class Transaction:
    """`now` is epoch seconds, the same for the whole transaction."""

    __slots__ = ("conn", "effects", "now")

    def __init__(self, conn: Connection, now: int) -> None:
        self.conn = conn
        self.now = now
        self.effects = Effects()

    def open_alert(self, kind: str, subject: str, message: str) -> None:
        """Open the alert, or count it once more. Only one that was not open is logged, as ERROR."""
        if alerts.open_(self.conn, kind, subject, message, self.now):
            self.effects.opened.append(Concern(kind, subject, message))

    def open_alerts(self, concerns: Iterable[Concern]) -> None:
        for each in concerns:
            self.open_alert(each.kind, each.subject, each.message)

    def resolve_alert(self, kind: str, subject: str) -> None:
        """Close the alert if it is open."""
        if alerts.resolve(self.conn, kind, subject, self.now):
            self.effects.resolved.append((kind, subject))

    def resolve_alerts(self, resolved: Iterable[tuple[str, str]]) -> None:
        """Close those of these (kind, subject) that are open."""
        for kind, subject in resolved:
            self.resolve_alert(kind, subject)

    def want_refresh(self, app_id: str, user_id: str) -> None:
        """Request a refresh of this user, due now. Several requests are served by one refresh."""
        refreshes.want(self.conn, app_id, user_id, self.now)
        self.wake(Loop.REFRESH)

    def provision(self, app_id: str, user_id: str, *, before_others: bool = False) -> None:
        """Write this user's limits to LiteLLM, due now. `before_others`: ahead of every due job."""
        provisioning.put(self.conn, app_id, user_id, self.now, before_others=before_others)
        self.wake(Loop.PROVISION)

    def notify(self, change: Change, body: str) -> None:
        """Send `body` to the app's backend, after the user's earlier notices. The change must be recorded already."""
        notices.put(self.conn, change, body, self.now)
        self.wake(Loop.NOTIFY)

    def wake(self, *loops: Loop) -> None:
        """Wake these loops of the worker after the commit."""
        self.effects.wake.update(loops)


Job = Callable[[Transaction], T]
