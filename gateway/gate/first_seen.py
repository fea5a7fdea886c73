"""Users whom the gate sees for the first time: each is reported once, and waits until its limits are set (T3)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from gateway.log import fields

log = logging.getLogger(__name__)

MAX_WAIT_SECONDS = 0.8
"""No request of a first-seen user waits longer; an outage of LiteLLM stops nobody."""
MAX_WAITING_REQUESTS = 1024
_MAX_SEEN = 100_000

LimitsFuture = asyncio.Future[None]


class FirstSeenUsers:
    """Calls `report(app_id, user_id)` once for each user; again at their next request if it answers False.

    A future as the answer: until it is done, for `MAX_WAIT_SECONDS` at most, requests of this user wait. The number
    of waiting users and requests is bounded; beyond it requests pass at once, as they do after the time is over.
    """

    def __init__(self, report: Callable[[str, str], object]) -> None:
        self._report = report
        self._seen: set[tuple[str, str]] = set()
        self._waiting_users: dict[tuple[str, str], LimitsFuture] = {}
        self._requests = 0

    def report_if_new(self, app_id: str, user_id: str) -> LimitsFuture | None:
        """This user is here. What the request must wait for with `wait`; None: for nothing."""
        user = app_id, user_id
        if user in self._seen:
            limits_future = self._waiting_users.get(user) if self._waiting_users else None
            return limits_future if self._requests < MAX_WAITING_REQUESTS else None
        if len(self._seen) >= _MAX_SEEN:
            self._seen.clear()  # reported twice is harmless, never reported is not
        self._seen.add(user)
        limits_future = self._report_and_wait(user)
        return limits_future if self._requests < MAX_WAITING_REQUESTS else None

    async def wait(self, limits_future: LimitsFuture, waited_seconds: float = 0.0) -> None:
        """Until the limits are set, or the time is over, of which the request has waited some already."""
        self._requests += 1
        try:
            await asyncio.wait({limits_future}, timeout=max(0.0, MAX_WAIT_SECONDS - waited_seconds))
        finally:
            self._requests -= 1

    def reset_first_seen(self, app_id: str, user_id: str) -> None:
        """Their next request is the first again."""
        self._seen.discard((app_id, user_id))

    def reset_all_first_seen(self) -> None:
        """Everybody's next request is the first again."""
        self._seen.clear()

    def _report_and_wait(self, user: tuple[str, str]) -> LimitsFuture | None:
        try:
            pending = self._report(*user)
        except Exception:
            self._seen.discard(user)
            log.exception("first_seen_users_failed", extra=fields(app_id=user[0], user_id=user[1]))
            return None
        if pending is False:
            self._seen.discard(user)
        if (
            not isinstance(pending, asyncio.Future)
            or pending.done()
            or len(self._waiting_users) >= MAX_WAITING_REQUESTS
        ):
            return None
        self._waiting_users[user] = pending
        pending.add_done_callback(lambda _: self._release(user, pending))
        asyncio.get_running_loop().call_later(MAX_WAIT_SECONDS, self._release, user, pending)
        return pending

    def _release(self, user: tuple[str, str], limits_future: LimitsFuture) -> None:
        if self._waiting_users.get(user) is limits_future:
            del self._waiting_users[user]
