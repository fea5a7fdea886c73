"""First-seen users of the gate get the first tier's limits: LiteLLM does not limit a user it does not know (T3), and a
free user never changes tier."""

from __future__ import annotations

import asyncio
import logging

from gateway.billing.accounts.forget import SESSIONS_LAST_SECONDS
from gateway.billing.installed_apps import InstalledApps
from gateway.billing.work import retry
from gateway.billing.work.transaction import Transaction
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.errors import StoreUnavailable
from gateway.log import fields
from gateway.store import provisioning, tombstones

log = logging.getLogger(__name__)

MAX_WAITING = 10_000
BATCH = 200

User = tuple[str, str]


class FirstSeenUserQueue:
    """Bounded queue of first-seen users, on their way to provisioning jobs. `add` never waits."""

    def __init__(self, work: UnitOfWork, apps: InstalledApps) -> None:
        self._work = work
        self._apps = apps
        self._waiting: asyncio.Queue[User] = asyncio.Queue(MAX_WAITING)
        self._pending: dict[User, asyncio.Future[None]] = {}

    def add(self, app_id: str, user_id: str) -> asyncio.Future[None] | bool:
        """Queue this user for provisioning; False if the queue is full.

        A future: it is done once LiteLLM holds the user's limits, or once the first attempt has failed.
        """
        app = self._apps.catalog.app(app_id)
        if app is None or app.litellm is None:
            return True
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
        """Turn first-seen users into provisioning jobs, for ever."""
        while True:
            users = [await self._waiting.get()]
            while len(users) < BATCH and not self._waiting.empty():
                users.append(self._waiting.get_nowait())
            await self._record(users)

    async def _record(self, users: list[User]) -> None:
        def record(tx: Transaction) -> list[User]:
            return [user for user in users if self._put_job(tx, *user)]

        while True:
            try:
                due = await self._work.write(record)
                break
            except StoreUnavailable:
                await asyncio.sleep(retry.STORE_RETRY_SECONDS)
            except Exception:  # an internal error: these users wait for the next start, later ones do not
                log.exception("first_seen_users_failed", extra=fields(users=len(users)))
                due = []
                break
        for user in set(users).difference(due):
            self.resolve(*user)

    def resolve(self, app_id: str, user_id: str) -> None:
        """End the wait for this user's limits."""
        future = self._pending.pop((app_id, user_id), None)
        if future is not None and not future.done():
            future.set_result(None)

    def _put_job(self, tx: Transaction, app_id: str, user_id: str) -> bool:
        """True if this user's limits are on their way to LiteLLM for the first time.

        A job that ended without an answer, because the app had no `litellm` at that moment, wrote nothing to LiteLLM.
        """
        conn, app = tx.conn, self._apps.catalog.app(app_id)
        if app is None or app.litellm is None:
            return False
        forgotten_at = tombstones.user_forgotten_at(conn, app_id, user_id)
        if forgotten_at is not None and tx.now < forgotten_at + SESSIONS_LAST_SECONDS:
            return False  # a session that is still open, not a returning user
        job = provisioning.get(conn, app_id, user_id)
        if job is not None and (job.state != provisioning.DONE or job.answer):
            return job.is_on_its_way
        tx.provision(app_id, user_id, before_others=True)
        return True
