"""People whom the gate sees and does not know: somebody is told of each (T3)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from gateway.log import fields

log = logging.getLogger(__name__)

_MAX_SEEN = 100_000


class Newcomers:
    """Calls `first_sight(app_id, user_id)` once for each, after the answer; again at their next request if it answers
    False."""

    def __init__(self, first_sight: Callable[[str, str], object]) -> None:
        self._first_sight = first_sight
        self._seen: set[tuple[str, str]] = set()

    def meet(self, app_id: str, user_id: str) -> None:
        """They are here."""
        if (app_id, user_id) in self._seen:
            return
        if len(self._seen) >= _MAX_SEEN:
            self._seen.clear()  # told of twice is harmless, never told of is not
        self._seen.add((app_id, user_id))
        asyncio.get_running_loop().call_soon(self._tell, app_id, user_id)

    def unsee(self, app_id: str, user_id: str) -> None:
        """Their next request is a first sight again."""
        self._seen.discard((app_id, user_id))

    def unsee_all(self) -> None:
        """Everybody's next request is a first sight again."""
        self._seen.clear()

    def _tell(self, app_id: str, user_id: str) -> None:
        try:
            if self._first_sight(app_id, user_id) is False:
                self._seen.discard((app_id, user_id))
        except Exception:
            self._seen.discard((app_id, user_id))
            log.exception("first_sight_failed", extra=fields(app_id=app_id, user_id=user_id))
