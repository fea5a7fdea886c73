"""Users whom the gate sees for the first time: each is reported once, and waits until its limits are set (T3)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from gateway.log import fields

log = logging.getLogger(__name__)

HOLD_SECONDS = 0.8
"""No request of a first-seen user waits longer; an outage of LiteLLM stops nobody."""
MAX_HELD = 1024
_MAX_SEEN = 100_000

Held = asyncio.Future[None]


class FirstSeenUsers:
    """Calls `report(app_id, user_id)` once for each user; again at their next request if it answers False.

    A future as the answer: until it is done, for `HOLD_SECONDS` at most, requests of this user are held. The number of
    held users and requests is bounded; what is beyond it passes at once, as it does after the time is over.
    """

    def __init__(self, report: Callable[[str, str], object]) -> None:
        self._report = report
        self._seen: set[tuple[str, str]] = set()
        self._held: dict[tuple[str, str], Held] = {}
        self._requests = 0

    def meet(self, app_id: str, user_id: str) -> Held | None:
        """This user is here. What the request must wait for with `wait`; None: for nothing."""
        user = app_id, user_id
        if user in self._seen:
            held = self._held.get(user) if self._held else None
            return held if self._requests < MAX_HELD else None
        if len(self._seen) >= _MAX_SEEN:
            self._seen.clear()  # reported twice is harmless, never reported is not
        self._seen.add(user)
        held = self._hold(user)
        return held if self._requests < MAX_HELD else None

    async def wait(self, held: Held, waited_seconds: float = 0.0) -> None:
        """Until the limits are set, or the time is over, of which the request has waited some already."""
        self._requests += 1
        try:
            await asyncio.wait({held}, timeout=max(0.0, HOLD_SECONDS - waited_seconds))
        finally:
            self._requests -= 1

    def unsee(self, app_id: str, user_id: str) -> None:
        """Their next request is the first again."""
        self._seen.discard((app_id, user_id))

    def unsee_all(self) -> None:
        """Everybody's next request is the first again."""
        self._seen.clear()

    def _hold(self, user: tuple[str, str]) -> Held | None:
        try:
            pending = self._report(*user)
        except Exception:
            self._seen.discard(user)
            log.exception("first_sight_failed", extra=fields(app_id=user[0], user_id=user[1]))
            return None
        if pending is False:
            self._seen.discard(user)
        if not isinstance(pending, asyncio.Future) or pending.done() or len(self._held) >= MAX_HELD:
            return None
        self._held[user] = pending
        pending.add_done_callback(lambda _: self._release(user, pending))
        asyncio.get_running_loop().call_later(HOLD_SECONDS, self._release, user, pending)
        return pending

    def _release(self, user: tuple[str, str], held: Held) -> None:
        if self._held.get(user) is held:
            del self._held[user]
