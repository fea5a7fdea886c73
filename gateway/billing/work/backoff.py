"""How long to wait after a failure. Pure."""

from __future__ import annotations

FIRST_SECONDS, MAX_SECONDS = 1, 600


def backoff_seconds(attempts: int) -> int:
    """Seconds until the next try after `attempts` failed ones: 1, 2, 4 … up to ten minutes."""
    return int(min(FIRST_SECONDS * 2 ** min(max(attempts - 1, 0), 16), MAX_SECONDS))
