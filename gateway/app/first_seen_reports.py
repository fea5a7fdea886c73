"""Reports first-seen users from a gate process to a main process, which provisions them."""

from __future__ import annotations

import asyncio
import logging

import aiohttp

from gateway.log import fields
from gateway.settings import GateSettings

log = logging.getLogger(__name__)

MAX_WAITING = 10_000
MAX_A_REPORT = 200
REPORT_SECONDS = 3.0
RETRY_SECONDS = 1.0
PATH = "/gate/first-seen"

User = tuple[str, str]


class FirstSeenReports:
    """Bounded. `add` never waits; a user whose report fails stays queued until a main process answers."""

    def __init__(self, session: aiohttp.ClientSession, settings: GateSettings) -> None:
        self._session = session
        self._url = f"{settings.main_url}{PATH}"
        self._headers = {"Authorization": f"Bearer {settings.gate_secret[0].reveal()}"}
        self._waiting: asyncio.Queue[User] = asyncio.Queue(MAX_WAITING)
        self._pending: dict[User, asyncio.Future[None]] = {}

    def add(self, app_id: str, user_id: str) -> asyncio.Future[None] | bool:
        """Queue this user; False if the queue is full. The future is done once the main process has answered, which it
        does when LiteLLM has the user's limits, or after the first attempt."""
        user = app_id, user_id
        if user in self._pending:
            return self._pending[user]
        try:
            self._waiting.put_nowait(user)
        except asyncio.QueueFull:
            return False
        self._pending[user] = asyncio.get_running_loop().create_future()
        return self._pending[user]

    async def run(self) -> None:
        """Report for ever; several reports may be under way, since an answer waits for LiteLLM."""
        async with asyncio.TaskGroup() as reports:
            while True:
                users = [await self._waiting.get()]
                while len(users) < MAX_A_REPORT and not self._waiting.empty():
                    users.append(self._waiting.get_nowait())
                reports.create_task(self._report(users))

    async def _report(self, users: list[User]) -> None:
        try:
            while True:
                if await self._sent(users):
                    return
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            for user in users:
                future = self._pending.pop(user, None)
                if future is not None and not future.done():
                    future.set_result(None)

    async def _sent(self, users: list[User]) -> bool:
        try:
            await self._send(users)
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            log.warning("first_seen_report_failed", extra=fields(users=len(users), detail=type(exc).__name__))
            return False
        return True

    async def _send(self, users: list[User]) -> None:
        timeout = aiohttp.ClientTimeout(total=REPORT_SECONDS)
        body = {"users": [{"app_id": app_id, "user_id": user_id} for app_id, user_id in users]}
        async with self._session.post(self._url, json=body, headers=self._headers, timeout=timeout) as response:
            response.raise_for_status()
