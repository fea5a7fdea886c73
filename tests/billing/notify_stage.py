"""What the tests of notices begin with: an app's backend that is told, and changes of tier that it is told of."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from servers.webhook_receiver import SECRET, Receiver, receiver
from servers.world import World

from gateway.billing import grants as granting
from gateway.billing.notify import notify
from gateway.catalog.model import SecretRef
from gateway.settings import Secret
from gateway.store import notices
from gateway.store.notices import Notice

REF = SecretRef("env", "HOOK")


@contextlib.asynccontextmanager
async def told_app(world: World) -> AsyncIterator[Receiver]:
    """The backend of skai, told of its users."""
    async with receiver() as found:
        await told_at(world, found.url)
        world.billing.catalog_secrets = {REF: (Secret(SECRET),)}
        yield found


async def told_at(world: World, url: str | None) -> None:
    notify_at = {"url": url, "secret": "env:HOOK"} if url else None
    await world.edit(lambda apps: apps["apps"][0].update(notify=notify_at))


async def give(world: World, tier: str = "pro", user_id: str = "u1", app_id: str = "skai") -> None:
    """A grant, through the refresh that all changes of tier go through."""
    billing = world.billing
    await world.store.write(
        lambda conn: granting.give(conn, billing.catalog, app_id, user_id, tier, "a test", None, billing.now())
    )
    await world.refresh()


async def take_back(world: World, user_id: str = "u1") -> None:
    await world.store.write(lambda conn: granting.take_back(conn, "skai", user_id, world.billing.now()))
    await world.refresh()


async def send(world: World) -> int:
    """Send what is due now; how many."""
    due = await world.query(lambda conn: notices.due(conn, world.billing.now(), 100))
    for notice in due:
        await notify(world.billing, notice)
    return len(due)


async def every(world: World) -> list[Notice]:
    """Every notice, the oldest first."""
    return (await world.query(lambda conn: notices.recent(conn, 100)))[::-1]


async def only(world: World) -> Notice:
    [found] = await every(world)
    return found
