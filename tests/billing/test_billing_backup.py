"""After a restore or a loss: nothing old is carried out, and it is ready once everybody was looked up (T25)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from servers.running import Running, Vendors, environ_of, vendors, write_apps
from servers.world import World
from sqlalchemy import Connection

from gateway.app.application import Application
from gateway.billing.backup import begin_recovery, mark_restored, recover
from gateway.billing.worker import Worker
from gateway.errors import UpstreamFailed
from gateway.settings import read_settings
from gateway.store import instance, outbox
from gateway.store.backup import back_up, restore


def mark(conn: Connection, now: int) -> None:
    mark_restored(conn, now)


async def restored(world: World, backup: Path) -> None:
    """Put this backup in place, as the command does, and start anew."""
    await world.store.close()
    database = world.folder / "world.db"
    now = int(world.clock.now)
    restore(f"sqlite:///{database}", backup, lambda conn: mark(conn, now), now)
    await world.open()
    world.billing.recovering = (await world.store.write(begin_recovery)) == "restored"


async def recovered(world: World) -> None:
    """Recovery with the worker beside it."""
    recovering = asyncio.create_task(recover(world.billing))
    deadline = time.monotonic() + 10
    while not recovering.done():
        assert time.monotonic() < deadline
        await world.refresh()
        await asyncio.sleep(0.01)
    await recovering
    await world.settle()


def backup_of(world: World) -> Path:
    target = world.folder / "a.backup"
    back_up(world.folder / "world.db", target)
    return target


async def test_t25_an_old_backup_ends_where_stripe_is_now(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.billing.backup.POLL_SECONDS", 0.01)
    canceled = await world.subscribed("canceled")
    await world.subscribed("stays")
    upgraded = await world.subscribed("upgraded")
    backup = backup_of(world)
    world.stripe.cancel(canceled)
    await world.catch_up()
    await world.subscribed("newcomer")
    item = world.stripe.world.find("subscription", upgraded)["items"]["data"][0]["id"]
    await world.billing.stripe.post(f"/v1/subscriptions/{upgraded}", {"items": [{"id": item, "price": "price_123"}]})
    await world.catch_up()
    held = {name: world.limits(name) for name in ("canceled", "stays", "upgraded", "newcomer")}

    await restored(world, backup)
    assert await world.tier("canceled") == "pro"  # known persons are served meanwhile, with the tier they had
    world.forget_requests()
    await recovered(world)
    tiers = {name: await world.tier(name) for name in held}
    assert tiers == {"canceled": "free", "stays": "pro", "upgraded": "enterprise", "newcomer": "pro"}
    assert {name: world.limits(name) for name in held} == held
    assert await world.query(lambda conn: instance.get(conn, "recovery")) == "done"
    assert await world.store.write(begin_recovery) == ""


async def test_an_attempt_counted_twice_is_another_checkout(world: World) -> None:
    await world.checkout("u0")
    backup = backup_of(world)
    first = await world.checkout("u1")
    await restored(world, backup)
    world.move(1)
    again = await world.checkout("u1")
    assert again.url != first.url


async def test_it_is_not_over_before_everybody_was_looked_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.billing.backup.POLL_SECONDS", 0.01)
    await world.subscribed("u1")
    await restored(world, backup_of(world))
    recovering = asyncio.create_task(recover(world.billing))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(recovering), 0.3)
    assert world.billing.recovering
    await world.refresh()
    await asyncio.wait_for(recovering, 10)
    assert not world.billing.recovering


async def test_who_cannot_be_looked_up_has_an_alert_and_holds_nobody_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.billing.backup.POLL_SECONDS", 0.01)
    await world.subscribed("u1")
    await world.subscribed("u2")
    backup = backup_of(world)
    del world.stripe.world.objects["customer"][await world.customer_id("u1")]  # Stripe has lost it, not deleted it
    await restored(world, backup)
    await recovered(world)
    assert await world.tier("u1") == "pro"
    assert await world.alerts() == {("refresh_failing", "skai/u1")}


async def test_while_stripe_is_away_recovery_is_tried_again(world: World) -> None:
    await world.subscribed("u1")
    await restored(world, backup_of(world))
    world.stripe.fault("status", "/v1/customers", "GET", status=500, times=3)
    with pytest.raises(UpstreamFailed):
        await recover(world.billing)
    assert world.billing.recovering
    assert await world.store.write(begin_recovery) == "restored"


@asynccontextmanager
async def started(around: Vendors, folder: Path) -> AsyncIterator[Running]:
    full = environ_of(folder, stripe_url=around.stripe_url, litellm_url=around.litellm_url)
    application = Application(read_settings(full), full)
    await application.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Running(application, full, folder, around.stripe, around.litellm, session)
    finally:
        await application.stop()


async def eventually(true: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + 20
    while not await true():
        assert time.monotonic() < deadline, f"never happened: {what}"
        await asyncio.sleep(0.02)


async def problems(running: Running) -> dict[str, str]:
    return dict((await running.admin("GET", "/ready"))[1]["problems"])


async def is_over(running: Running) -> bool:
    return "recovery" not in await problems(running)


async def tier_at_gate(running: Running) -> str:
    """What the app is told of u1, who comes with a key of their own."""
    _, made = await running.admin("POST", "/admin/keys", {"app_id": "skai", "user_id": "u1"})
    status, headers, _ = await running.gate("/", Authorization=f"Bearer {made['key']}")
    assert (status, headers["X-SK-User"]) == (200, "u1")
    return str(headers["X-SK-Tier"])


def lose_database(folder: Path) -> None:
    for path in folder.glob("skpayments.db*"):
        path.unlink()


async def bought(around: Vendors, folder: Path) -> None:
    """Somebody who pays and whom we signed, made by a first life of the service that has seen nothing of it."""
    async with started(around, folder) as running:
        status, answer = await running.json("POST", "/checkout/skai", json={"user_id": "u1", "tier": "pro"})
        assert status == 200
        async with running.session.post(answer["checkout_url"], data={"action": "pay"}, allow_redirects=False) as paid:
            assert paid.status == 303


async def test_an_empty_database_with_our_subscribers_is_not_ready_until_they_are_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.app.first_contact.AGAIN_SECONDS", 0.05)
    write_apps(tmp_path)
    async with vendors() as around:
        await bought(around, tmp_path)
        lose_database(tmp_path)
        fault = around.stripe.fault("status", "/v1/customers", "GET", status=500, times=10_000)
        async with started(around, tmp_path) as running:
            assert "recovery" in await problems(running)
            assert (await running.json("GET", "/ready", None))[0] == 503
            around.stripe.faults.waiting.remove(fault)
            await eventually(lambda: is_over(running), "ready again")
            assert await tier_at_gate(running) == "pro"


async def test_a_new_installation_in_an_empty_account_is_ready_at_once(tmp_path: Path) -> None:
    write_apps(tmp_path)
    async with vendors() as around, started(around, tmp_path) as running:

        async def ready() -> bool:
            return (await running.json("GET", "/ready", None))[0] == 200

        await eventually(ready, "ready")


async def test_after_a_restore_known_persons_are_served_before_it_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.app.first_contact.AGAIN_SECONDS", 0.05)
    write_apps(tmp_path)
    database = tmp_path / "skpayments.db"
    async with vendors() as around:
        await bought(around, tmp_path)
        async with started(around, tmp_path) as running:
            await running.admin("POST", "/admin/refresh", {"app_id": "skai", "user_id": "u1"})

            async def is_pro() -> bool:
                return bool((await running.json("GET", "/status/skai/u1"))[1]["tier"] == "pro")

            await eventually(is_pro, "the tier arrives")
            back_up(database, tmp_path / "a.backup")
        restore(f"sqlite:///{database}", tmp_path / "a.backup", lambda conn: mark(conn, 1), 1)
        fault = around.stripe.fault("status", "/v1/customers", "GET", status=500, times=10_000)
        async with started(around, tmp_path) as running:
            assert "recovery" in await problems(running)
            assert await tier_at_gate(running) == "pro"
            around.stripe.faults.waiting.remove(fault)
            await eventually(lambda: is_over(running), "ready again")
            assert await tier_at_gate(running) == "pro"
            assert (await running.admin("GET", "/admin/alerts"))[1]["alerts"] == []


async def test_nothing_is_written_to_litellm_before_a_restore_is_over(world: World) -> None:
    await world.subscribed("u1")
    await world.store.write(lambda conn: outbox.put(conn, "litellm", "skai", "u1", {}, world.billing.now()))
    world.forget_requests()
    worker = Worker(world.billing)
    world.billing.recovering = True
    assert await worker._provision() == 0
    assert world.litellm_calls() == {}
    world.billing.recovering = False
    assert await worker._provision() == 1
    assert world.litellm_calls()["/customer/update"] == 1
