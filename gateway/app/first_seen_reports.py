"""Reports first-seen users from a gate process to a main process, which provisions them."""

from __future__ import annotations

import asyncio
import json
import logging

import aiohttp

from gateway.log import fields
from gateway.settings import GateSettings

log = logging.getLogger(__name__)

MAX_WAITING = 10_000
MAX_REPORTS = 8
MAX_A_REPORT = 64
"""A body stays below the 64 KiB that the main process accepts, with the longest user ids."""
REPORT_SECONDS = 3.0
RETRY_SECONDS = 1.0
PATH = "/gate/first-seen"
REFUSED = (400, 413, 415)
"""Statuses that a repeated report would get as well."""

User = tuple[str, str]


class FirstSeenReports:
    """Bounded. `add` never waits; a user whose report fails stays queued until a main process answers."""

    def __init__(self, session: aiohttp.ClientSession, settings: GateSettings) -> None:
        self._session = session
        self._url = f"{settings.main_url}{PATH}"
        secret = settings.gate_secret[0].reveal()
        self._headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
        self._waiting: asyncio.Queue[User] = asyncio.Queue(MAX_WAITING)
        self._pending: dict[User, asyncio.Future[None]] = {}
        self._slots = asyncio.Semaphore(MAX_REPORTS)
        self._is_away = False

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
                await self._slots.acquire()
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
            self._slots.release()
            for user in users:
                future = self._pending.pop(user, None)
                if future is not None and not future.done():
                    future.set_result(None)

    async def _sent(self, users: list[User]) -> bool:
        """Whether the report needs no repetition. An outage is logged once."""
        try:
            refused = await self._send(users)
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            if not self._is_away:
                log.warning("first_seen_report_failed", extra=fields(users=len(users), detail=type(exc).__name__))
            self._is_away = True
            return False
        self._is_away = False
        if refused:
            log.error("first_seen_report_refused", extra=fields(users=len(users), detail=refused))
        return True

    async def _send(self, users: list[User]) -> str:
        """Empty, or why the main process will never accept this report."""
        timeout = aiohttp.ClientTimeout(total=REPORT_SECONDS)
        listed = [{"app_id": app_id, "user_id": user_id} for app_id, user_id in users]
        body = json.dumps({"users": listed}, ensure_ascii=False).encode()
        async with self._session.post(self._url, data=body, headers=self._headers, timeout=timeout) as response:
            if response.status in REFUSED:
                return f"{response.status} {(await response.text())[:200]}"
            response.raise_for_status()
            return ""
