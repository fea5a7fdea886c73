"""The state of a reconcile: its options, progress and report. One at a time in a process."""

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
    """How far a pass is; `total` is an estimate, since Stripe reports no length of its lists."""

    phase: str = "waiting"
    done: int = 0
    total: int = 0

    def begin(self, phase: str, total: int) -> None:
        self.phase, self.done, self.total = phase, 0, total


@dataclass(slots=True)
class ReconcileState:
    """`job_number` counts the requests, so that a caller can distinguish its report from an older one.

    `requested`: the options of a pass that has not begun; `request_made` wakes the loop that runs it.
    """

    pace: RateLimiter = field(default_factory=lambda: RateLimiter(CALLS_PER_SECOND))
    request_made: asyncio.Event = field(default_factory=asyncio.Event)
    requested: ReconcileOptions | None = None
    under_way: bool = False
    job_number: int = 0
    progress: Progress = field(default_factory=Progress)
    report: dict[str, object] | None = None
    error: str | None = None

    def request(self, options: ReconcileOptions) -> int:
        """Start a pass as soon as the loop gets to it; its job number. Raises `Conflict` while one is under way."""
        if self.under_way or self.requested is not None:
            raise Conflict("A reconcile is under way already; wait for it.", code="reconcile_under_way")
        self.requested = options
        self.job_number += 1
        self.report, self.error, self.progress = None, None, Progress()
        self.request_made.set()
        return self.job_number

    def shown(self) -> dict[str, object]:
        """For the polling command."""
        return {
            "job_number": self.job_number,
            "under_way": self.under_way or self.requested is not None,
            "phase": self.progress.phase,
            "done": self.progress.done,
            "total": self.progress.total,
            "report": self.report,
            "error": self.error,
        }
