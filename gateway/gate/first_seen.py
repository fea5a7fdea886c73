"""First-seen users: each is reported once, and its requests wait until its limits are set (T3)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from gateway.log import fields

log = logging.getLogger(__name__)

MAX_WAIT_SECONDS = 0.8
"""The longest that a request of a first-seen user waits, so that an outage of LiteLLM blocks no user."""
MAX_WAITING_REQUESTS = 1024
_MAX_SEEN = 100_000

LimitsFuture = asyncio.Future[None]


class FirstSeenUsers:
    """Calls `report(app_id, user_id)` once for each user, and again at the user's next request if it returns False.

    If it returns a future, requests of this user wait until it is done, for `MAX_WAIT_SECONDS` at most. The number of
    waiting users and requests is bounded; beyond it requests pass at once.
    """

    def __init__(self, report: Callable[[str, str], object]) -> None:
        self._report = report
        self._reported: set[tuple[str, str]] = set()
        self._waiting_users: dict[tuple[str, str], LimitsFuture] = {}
        self._requests = 0

    def report_if_new(self, app_id: str, user_id: str) -> LimitsFuture | None:
        """What the request of this user must `wait` for; None: nothing."""
        user = app_id, user_id
        if user in self._reported:
            limits_future = self._waiting_users.get(user) if self._waiting_users else None
            return limits_future if self._requests < MAX_WAITING_REQUESTS else None
        if len(self._reported) >= _MAX_SEEN:
            self._reported.clear()  # a second report is harmless, a missing one is not
        self._reported.add(user)
        limits_future = self._report_and_wait(user)
        return limits_future if self._requests < MAX_WAITING_REQUESTS else None

    async def wait(self, limits_future: LimitsFuture, waited_seconds: float = 0.0) -> None:
        """Return when the limits are set or MAX_WAIT_SECONDS have passed, less those that the request has waited."""
        self._requests += 1
        try:
            await asyncio.wait({limits_future}, timeout=max(0.0, MAX_WAIT_SECONDS - waited_seconds))
        finally:
            self._requests -= 1

    def reset_first_seen(self, app_id: str, user_id: str) -> None:
        """The user's next request is reported as their first."""
        self._reported.discard((app_id, user_id))

    def reset_all_first_seen(self) -> None:
        """The next request of every user is reported as their first."""
        self._reported.clear()

    def _report_and_wait(self, user: tuple[str, str]) -> LimitsFuture | None:
        try:
            pending = self._report(*user)
        except Exception:
            self._reported.discard(user)
            log.exception("first_seen_users_failed", extra=fields(app_id=user[0], user_id=user[1]))
            return None
        if pending is False:
            self._reported.discard(user)
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
