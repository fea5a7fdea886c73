"""How many recent sessions of an app verified, and how many failed as they do with a wrong secret or key. Pure."""

from __future__ import annotations

from typing import Literal

WINDOW_SECONDS = 2 * 3600
"""A session in use is counted at least once an hour: no longer is its verification cached."""
MIN_FAILED = 3
MAX_COUNTED = 1024
# The codes that a wrong secret, issuer, audience or key set causes. Not expired sessions, nor cookies that are no
# token, such as one of another site on a parent domain.
MISCONFIGURATION_CODES = frozenset(
    {"wrong_signature", "wrong_algorithm", "wrong_issuer", "wrong_audience", "unknown_key"}
)

Verdict = Literal["failing", "fine", "unknown"]
_Half = tuple[set[int], set[int]]


class SessionCounts:
    """Distinct cookies of the current and the previous window, by hash; at most `MAX_COUNTED` each per window."""

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
        # A clock that was set back starts a new window as well, or the window would last until time catches up.
        if not self._window_started_at <= now < self._window_started_at + WINDOW_SECONDS:
            self._previous = self._current if now < self._window_started_at + 2 * WINDOW_SECONDS else (set(), set())
            self._current = (set(), set())
            self._window_started_at = now

    def verdict(self, now: int) -> Verdict:
        """`failing`: more sessions fail than verify, and at least `MIN_FAILED`. `fine`: not failing, and one
        verified."""
        self._rotate_window(now)
        verified, failed = (
            len(current | previous) for current, previous in zip(self._current, self._previous, strict=True)
        )
        if failed >= MIN_FAILED and failed > verified:
            return "failing"
        return "fine" if verified else "unknown"
