"""The setup of the tests of notices: an app's backend that gets notices, and changes of tier that cause them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from servers.harness import Harness
from servers.webhook_receiver import SECRET, Receiver, receiver

from gateway.billing.notify.notices import notify
from gateway.billing.refresh import grants as granting
from gateway.catalog.secret_ref import SecretRef
from gateway.settings import Secret
from gateway.store import notices
from gateway.store.notices import Notice

REF = SecretRef("env", "HOOK")


@contextlib.asynccontextmanager
async def notified_app(harness: Harness) -> AsyncIterator[Receiver]:
    """The backend of skai, which gets notices about its users."""
    async with receiver() as found:
        await notify_at(harness, found.url)
        harness.billing.apps.secrets = {REF: (Secret(SECRET),)}
        yield found


async def notify_at(harness: Harness, url: str | None) -> None:
    notify_at = {"url": url, "secret": "env:HOOK"} if url else None
    await harness.edit(lambda apps: apps["apps"][0].update(notify=notify_at))


async def give(harness: Harness, tier: str = "pro", user_id: str = "u1", app_id: str = "skai") -> None:
    """A grant, through the refresh that all changes of tier go through."""
    catalog = harness.billing.apps.catalog
    await harness.billing.work.write(lambda tx: granting.give(tx, catalog, app_id, user_id, tier, "a test", None))
    await harness.refresh()


async def take_back(harness: Harness, user_id: str = "u1") -> None:
    await harness.billing.work.write(lambda tx: granting.take_back(tx, "skai", user_id))
    await harness.refresh()


async def send(harness: Harness) -> int:
    """Send what is due now; how many."""
    due = await harness.query(lambda conn: notices.due(conn, harness.billing.work.now(), 100))
    for notice in due:
        await notify(harness.billing.work, harness.billing.apps, notice)
    return len(due)


async def every(harness: Harness) -> list[Notice]:
    """Every notice, the oldest first."""
    return (await harness.query(lambda conn: notices.recent(conn, 100)))[::-1]


async def only(harness: Harness) -> Notice:
    [found] = await every(harness)
    return found
