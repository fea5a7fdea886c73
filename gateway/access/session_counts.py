"""How many sessions of an app verified of late, and how many were signed by somebody else. Pure."""

from __future__ import annotations

from typing import Literal

WINDOW_SECONDS = 2 * 3600
"""A session is counted anew once an hour at the latest: for no longer is it remembered."""
MIN_FAILED = 3
MAX_COUNTED = 1024
# What a wrong secret, issuer, audience or key set looks like. Not what has ended, nor what is no token at all, such as
# the cookie of another site on a parent domain.
MISCONFIGURATION_CODES = frozenset(
    {"wrong_signature", "wrong_algorithm", "wrong_issuer", "wrong_audience", "unknown_key"}
)

Verdict = Literal["failing", "fine", "unknown"]
_Half = tuple[set[int], set[int]]


class SessionCounts:
    """Distinct cookies of one or two windows, by their hashes; at most `MAX_COUNTED` of each sort in each window."""

    def __init__(self) -> None:
        self._current: _Half = (set(), set())
        self._previous: _Half = (set(), set())
        self._window_started_at = 0

    def verified(self, credential: bytes, now: int) -> None:
        self._count(0, credential, now)

    def failed(self, credential: bytes, now: int) -> None:
        self._count(1, credential, now)

    def _count(self, sort: int, credential: bytes, now: int) -> None:
        self._rotate_window(now)
        if len(self._current[sort]) < MAX_COUNTED:
            self._current[sort].add(hash(credential))

    def _rotate_window(self, now: int) -> None:
        # A clock that was set back turns, too, or the window would last until time catches up.
        if not self._window_started_at <= now < self._window_started_at + WINDOW_SECONDS:
            self._previous = self._current if now < self._window_started_at + 2 * WINDOW_SECONDS else (set(), set())
            self._current = (set(), set())
            self._window_started_at = now

    def verdict(self, now: int) -> Verdict:
        """`failing`: more sessions fail than verify, and not just a few. `fine`: that is not so and one verified."""
        self._rotate_window(now)
        verified, failed = (len(young | old) for young, old in zip(self._current, self._previous, strict=True))
        if failed >= MIN_FAILED and failed > verified:
            return "failing"
        return "fine" if verified else "unknown"
