"""Where a reconcile stands: what was asked for, how far it is, what it found. One at a time in a process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from gateway.billing.work.rate_limiter import RateLimiter
from gateway.errors import Conflict

CALLS_PER_SECOND = 10
"""Of the 25 that Stripe allows for each kind of request; the others are for refreshes."""


@dataclass(frozen=True, slots=True)
class ReconcileOptions:
    """What an operator wants. `app_id` None is every app; `yes` applies a wave too."""

    app_id: str | None = None
    apply: bool = False
    yes: bool = False


@dataclass(slots=True)
class Progress:
    """How far a pass is; `total` is an estimate, since Stripe does not say how long its lists are."""

    phase: str = "waiting"
    done: int = 0
    total: int = 0

    def begin(self, phase: str, total: int) -> None:
        self.phase, self.done, self.total = phase, 0, total


@dataclass(slots=True)
class ReconcileState:
    """`job_number` counts the requests, so that a caller can tell its report from an older one."""

    pace: RateLimiter = field(default_factory=lambda: RateLimiter(CALLS_PER_SECOND))
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    asked: ReconcileOptions | None = None
    under_way: bool = False
    job_number: int = 0
    progress: Progress = field(default_factory=Progress)
    report: dict[str, object] | None = None
    error: str | None = None

    def ask(self, requested: ReconcileOptions) -> int:
        """Start a pass as soon as the loop gets to it; its job number. Raises `Conflict` while one is under way."""
        if self.under_way or self.asked is not None:
            raise Conflict("A reconcile is under way already; wait for it.", code="reconcile_under_way")
        self.asked = requested
        self.job_number += 1
        self.report, self.error, self.progress = None, None, Progress()
        self.wanted.set()
        return self.job_number

    def shown(self) -> dict[str, object]:
        """For the polling command."""
        return {
            "job_number": self.job_number,
            "under_way": self.under_way or self.asked is not None,
            "phase": self.progress.phase,
            "done": self.progress.done,
            "total": self.progress.total,
            "report": self.report,
            "error": self.error,
        }
