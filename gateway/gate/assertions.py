"""Cache of signed assertions, so that hardly any request waits for a signature."""

from __future__ import annotations

import asyncio

from gateway.access.assertion import LIFETIME_SECONDS, Signer
from gateway.catalog.model import Tier

# The least lifetime that an app gets: its clock may be ahead, and its request may be slow.
_MIN_SECONDS_LEFT = 20
# With less left the request still gets the cached one, and a new one is signed for the next request.
RENEW_SECONDS_LEFT = 30
_MAX_GENERATION_ENTRIES = 16_384  # entries of 0.7 kB

_Key = tuple[str, str | None]


class Assertions:
    """Of one app, until the next reload. The key includes the tier, so a user whose tier has changed never gets an
    assertion of the former tier."""

    def __init__(self, signer: Signer, app_id: str, max_half: int = _MAX_GENERATION_ENTRIES) -> None:
        self._signer = signer
        self._app_id = app_id
        self._max_half = max_half
        self._current: dict[_Key, tuple[bytes, int]] = {}
        self._previous: dict[_Key, tuple[bytes, int]] = {}
        self._renewing: set[_Key] = set()

    def current(self, tier: Tier, user_id: str | None, now: int) -> tuple[bytes, int]:
        """The header line, and the epoch second at which the assertion expires."""
        key = (tier.tier_id, user_id)
        cached = self._current.get(key) or self._previous.get(key)
        if cached is None:
            return self._sign(tier, user_id, now)
        seconds_left = cached[1] - now
        # More than its lifetime: the clock was set back, and apps reject a token from the future.
        if not _MIN_SECONDS_LEFT <= seconds_left <= LIFETIME_SECONDS:
            return self._sign(tier, user_id, now)
        if seconds_left < RENEW_SECONDS_LEFT and key not in self._renewing:
            self._renewing.add(key)
            asyncio.get_running_loop().call_soon(self._renew, tier, user_id, now)
        return cached

    def _renew(self, tier: Tier, user_id: str | None, now: int) -> None:
        self._renewing.discard((tier.tier_id, user_id))
        self._sign(tier, user_id, now)

    def _sign(self, tier: Tier, user_id: str | None, now: int) -> tuple[bytes, int]:
        token = self._signer.sign(self._app_id, tier, user_id, now)
        cached = b"X-SK-Assertion: " + token + b"\r\n", now + LIFETIME_SECONDS
        if len(self._current) >= self._max_half:
            # Those in use are signed anew by the next request: none is served for more than 40 s.
            self._current, self._previous = {}, self._current
        self._current[tier.tier_id, user_id] = cached
        return cached

    def __len__(self) -> int:
        return len(self._current) + len(self._previous)
