"""Retry, alert, give up: the worker's one policy for failed work. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gateway import errors

FIRST_SECONDS, MAX_SECONDS = 1, 600
FAILURES_UNTIL_ALERT = 5
STORE_RETRY_SECONDS = 1.0
"""Between two attempts to write what must not be dropped while the store is unavailable."""


class Failure(StrEnum):
    """Why an attempt failed."""

    STORE = "store"
    """Our database cannot be written: the loop waits for it, and the attempt does not count."""
    UNAVAILABLE = "unavailable"
    """A vendor or an app did not answer: the same request may succeed later."""
    REFUSED = "refused"
    """A vendor or an app will refuse the same request for ever: a person must act."""
    INVALID = "invalid"
    """apps.json, the store or the request itself forbids it."""
    INTERNAL = "internal"
    """An unexpected exception: an internal error."""


ERRORS: Mapping[type[BaseException], Failure] = {
    errors.StoreUnavailable: Failure.STORE,
    errors.UpstreamFailed: Failure.UNAVAILABLE,  # REFUSED unless it is `retryable`
    TimeoutError: Failure.UNAVAILABLE,
    errors.InvalidInput: Failure.INVALID,
    errors.BadSignature: Failure.INVALID,
    errors.NotAuthenticated: Failure.INVALID,
    errors.Forbidden: Failure.INVALID,
    errors.TierRequired: Failure.INVALID,
    errors.NotFound: Failure.INVALID,
    errors.Conflict: Failure.INVALID,
    errors.TooLarge: Failure.INVALID,
    errors.WrongMediaType: Failure.INVALID,
    errors.TooMany: Failure.INVALID,
    errors.ConfigError: Failure.INVALID,
}
"""The worker's border: every error of ours, and what a job that raises it does. Everything else is INTERNAL."""

ALERT_AFTER: Mapping[Failure, int] = {
    Failure.UNAVAILABLE: FAILURES_UNTIL_ALERT,
    Failure.REFUSED: 1,
    Failure.INVALID: FAILURES_UNTIL_ALERT,
    Failure.INTERNAL: FAILURES_UNTIL_ALERT,
}
"""Failed attempts in a row until an alert opens."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`dead_after`: failed attempts until the work is given up (dead), by failure; it is retried for ever otherwise.

    `give_up_after_seconds`: the same, counted from the first failure. `delay_seconds`: the time between two attempts;
    None: exponential backoff.
    """

    dead_after: Mapping[Failure, int] = field(default_factory=dict)
    give_up_after_seconds: int | None = None
    delay_seconds: int | None = None

    def delay(self, attempts: int) -> int:
        """Seconds until the next attempt after `attempts` failed ones."""
        return self.delay_seconds if self.delay_seconds is not None else backoff_seconds(attempts)


ROUTE_EVENTS = RetryPolicy()
REFRESH = RetryPolicy()
"""Never given up: a payer keeps the last tier until Stripe answers."""
PROVISION = RetryPolicy(dead_after={Failure.REFUSED: 1, Failure.INVALID: 1, Failure.INTERNAL: 10})
NOTIFY = RetryPolicy(dead_after={Failure.REFUSED: 1}, give_up_after_seconds=3 * 86_400)
"""As long as Stripe itself retries a webhook."""
RECONCILE = RetryPolicy(delay_seconds=900)
"""A full pass reads every subscription of the account."""
CHECK_ENFORCEMENT = RetryPolicy(delay_seconds=3600)
"""Each check makes a call to a model."""


@dataclass(frozen=True, slots=True)
class NextStep:
    """What follows a failed attempt. `retry_at` is epoch seconds, and of no meaning for dead work."""

    dead: bool
    alert: bool
    retry_at: int


def next_step(
    policy: RetryPolicy, failure: Failure, attempts: int, now: int, first_failed_at: int | None = None
) -> NextStep:
    """`attempts` counts the failed ones including this one; `first_failed_at` is when the first of them failed."""
    failing_seconds = now - first_failed_at if first_failed_at is not None else 0
    expired = policy.give_up_after_seconds is not None and failing_seconds >= policy.give_up_after_seconds
    return NextStep(
        dead=expired or _reached(attempts, policy.dead_after.get(failure)),
        alert=_reached(attempts, ALERT_AFTER.get(failure)),
        retry_at=now + policy.delay(attempts),
    )


def classify(exc: BaseException) -> Failure:
    if isinstance(exc, errors.UpstreamFailed) and not exc.retryable:
        return Failure.REFUSED
    return next((ERRORS[each] for each in type(exc).__mro__ if each in ERRORS), Failure.INTERNAL)


def describe(exc: BaseException) -> str:
    """For the operator: an error's detail or message. Of an internal error only its type: its text may be secret."""
    return exc.detail or exc.message if isinstance(exc, errors.SkpayError) else type(exc).__name__


def traceback_of(exc: BaseException) -> BaseException | None:
    """The `exc_info` of a log line: only an internal error needs its traceback."""
    return exc if classify(exc) is Failure.INTERNAL else None


def backoff_seconds(attempts: int) -> int:
    """Seconds until the next try after `attempts` failed ones: 1, 2, 4 … up to ten minutes."""
    return int(min(FIRST_SECONDS * 2 ** min(max(attempts - 1, 0), 16), MAX_SECONDS))


def _reached(attempts: int, threshold: int | None) -> bool:
    return threshold is not None and attempts >= threshold
