"""Limit the rate of our own requests: Stripe allows 25 a second for each kind of request."""

from __future__ import annotations

import asyncio


class RateLimiter:
    """At most `per_second` calls of `wait` return in a second, evenly spaced."""

    def __init__(self, per_second: float) -> None:
        self._interval_seconds = 1 / per_second
        self._next_at = 0.0

    async def wait(self) -> None:
        now = asyncio.get_running_loop().time()
        at = max(now, self._next_at)
        self._next_at = at + self._interval_seconds
        if at > now:
            await asyncio.sleep(at - now)
