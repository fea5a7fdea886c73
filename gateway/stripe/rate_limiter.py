"""Keeps our requests under Stripe's rate limits. Computes delays; the caller sleeps.

Source: docs.stripe.com/rate-limits: 25 requests a second for each endpoint by default.
"""

from __future__ import annotations

import time
from collections.abc import Callable

PER_SECOND = 18.0
BURST = 5
"""At most 18 + 5 in any second: the 25 are counted where our requests arrive, and some travel faster than others."""

# Any other path segment is an id: ids of prices and products may look like any word.
_PATH_WORDS = frozenset((
    "v1", "v2", "account", "active_entitlements", "billing_portal", "cancel", "charges", "checkout", "close",
    "configurations", "core", "create_preview", "customers", "disputes", "early_fraud_warnings", "entitlements",
    "event_destinations", "events", "expire", "invoice_payments", "invoices", "line_items", "lines",
    "mark_uncollectible", "pause", "pay", "payment_intents", "prices", "products", "radar", "refunds", "release",
    "resume", "sessions", "subscription_items", "subscription_schedules", "subscriptions", "void", "webhook_endpoints",
))  # fmt: skip


def endpoint(method: str, path: str) -> str:
    """What Stripe counts as one endpoint: `GET /v1/customers/{}` for every customer."""
    steps = path.partition("?")[0].strip("/").split("/")
    return f"{method} /" + "/".join(step if step in _PATH_WORDS else "{}" for step in steps)


class RateLimiter:
    """A token bucket for each endpoint: `burst` requests at once, then `per_second`. First come, first served."""

    def __init__(
        self, per_second: float = PER_SECOND, burst: int = BURST, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = 1 / per_second
        self._burst_seconds = self._interval * (burst - 1)
        self._now = now
        self._full_at: dict[str, float] = {}

    def reserve(self, name: str) -> float:
        """Reserve the next slot; returns the seconds until it, 0 for at once."""
        now = self._now()
        full_at = max(self._full_at.get(name, now), now)
        self._full_at[name] = full_at + self._interval
        return max(0.0, full_at - self._burst_seconds - now)

    def pause(self, name: str, seconds: float) -> None:
        """Delay all slots from now on by this long, and allow no burst then: Stripe answered 429."""
        self._full_at[name] = max(self._full_at.get(name, 0.0), self._now() + seconds + self._burst_seconds)
