"""After a restore or a loss: pending jobs are dropped, and it is ready once every user was refreshed (T25)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from servers.harness import Harness
from servers.running import Running, Vendors, environ_of, vendors, write_apps
from sqlalchemy import Connection

from gateway.app.application import Application
from gateway.billing.accounts.recovery import begin_recovery, mark_restored, recover
from gateway.billing.work.transaction import Transaction
from gateway.errors import UpstreamFailed
from gateway.settings import read_settings
from gateway.store import instance, provisioning
from gateway.store.engine.backup import back_up, restore


def mark(conn: Connection, now: int) -> None:
    mark_restored(Transaction(conn, now))


async def restored(harness: Harness, backup: Path) -> None:
    """Put this backup in place, as the command does, and restart."""
    await harness.store.close()
    database = harness.folder / "harness.db"
    now = int(harness.clock.now)
    restore(f"sqlite:///{database}", backup, lambda conn: mark(conn, now), now)
    await harness.open()
    harness.billing.account.recovering = (await harness.store.write(begin_recovery)) == "restored"


async def recovered(harness: Harness) -> None:
    """Recovery with the worker beside it."""
    recovering = asyncio.create_task(recover(harness.billing))
    deadline = time.monotonic() + 10
    while not recovering.done():
        assert time.monotonic() < deadline
        await harness.refresh()
        await asyncio.sleep(0.01)
    await recovering
    await harness.settle()


def backup_of(harness: Harness) -> Path:
    target = harness.folder / "a.backup"
    back_up(harness.folder / "harness.db", target)
    return target


async def test_t25_an_old_backup_ends_where_stripe_is_now(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.billing.accounts.recovery.POLL_SECONDS", 0.01)
    canceled = await harness.subscribed("canceled")
    await harness.subscribed("stays")
    upgraded = await harness.subscribed("upgraded")
    backup = backup_of(harness)
    harness.stripe.cancel(canceled)
    await harness.catch_up()
    await harness.subscribed("new")
    item = harness.stripe.state.find("subscription", upgraded)["items"]["data"][0]["id"]
    await harness.billing.stripe.transport.post(
        f"/v1/subscriptions/{upgraded}", {"items": [{"id": item, "price": "price_123"}]}
    )
    await harness.catch_up()
    stored = {name: harness.limits(name) for name in ("canceled", "stays", "upgraded", "new")}

    await restored(harness, backup)
    assert await harness.tier("canceled") == "pro"  # known persons are served meanwhile, with the tier they had
    harness.forget_requests()
    await recovered(harness)
    tiers = {name: await harness.tier(name) for name in stored}
    assert tiers == {"canceled": "free", "stays": "pro", "upgraded": "enterprise", "new": "pro"}
    assert {name: harness.limits(name) for name in stored} == stored
    assert await harness.query(lambda conn: instance.get(conn, "recovery")) == "done"
    assert await harness.store.write(begin_recovery) == ""


async def test_an_attempt_counted_twice_is_another_checkout(harness: Harness) -> None:
    await harness.checkout("u0")
    backup = backup_of(harness)
    first = await harness.checkout("u1")
    await restored(harness, backup)
    harness.move(1)
    second = await harness.checkout("u1")
    assert second.url != first.url


async def test_recovery_ends_only_after_every_user_was_refreshed(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.billing.accounts.recovery.POLL_SECONDS", 0.01)
    await harness.subscribed("u1")
    await restored(harness, backup_of(harness))
    recovering = asyncio.create_task(recover(harness.billing))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(recovering), 0.3)
    assert harness.billing.account.recovering
    await harness.refresh()
    await asyncio.wait_for(recovering, 10)
    assert not harness.billing.account.recovering


async def test_a_user_who_cannot_be_refreshed_is_alerted_and_does_not_delay_recovery(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.billing.accounts.recovery.POLL_SECONDS", 0.01)
    await harness.subscribed("u1")
    await harness.subscribed("u2")
    backup = backup_of(harness)
    del harness.stripe.state.objects["customer"][await harness.customer_id("u1")]  # Stripe has lost it, not deleted it
    await restored(harness, backup)
    await recovered(harness)
    assert await harness.tier("u1") == "pro"
    assert await harness.alerts() == {("refresh_failing", "skai/u1")}


async def test_recovery_is_retried_while_stripe_is_unreachable(harness: Harness) -> None:
    await harness.subscribed("u1")
    await restored(harness, backup_of(harness))
    harness.stripe.fault("status", "/v1/customers", "GET", status=500, times=3)
    with pytest.raises(UpstreamFailed):
        await recover(harness.billing)
    assert harness.billing.account.recovering
    assert await harness.store.write(begin_recovery) == "restored"


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
    """The tier in the gate's headers for u1, who has a user key."""
    _, made = await running.admin("POST", "/admin/keys", {"app_id": "skai", "user_id": "u1"})
    status, headers, _ = await running.gate("/", Authorization=f"Bearer {made['key']}")
    assert (status, headers["X-SK-User"]) == (200, "u1")
    return str(headers["X-SK-Tier"])


def lose_database(folder: Path) -> None:
    for path in folder.glob("skpayments.db*"):
        path.unlink()


async def bought(around: Vendors, folder: Path) -> None:
    """A paying customer with our signature; the service that created it stops before it gets an event."""
    async with started(around, folder) as running:
        status, answer = await running.json("POST", "/checkout/skai", json={"user_id": "u1", "tier": "pro"})
        assert status == 200
        async with running.session.post(answer["checkout_url"], data={"action": "pay"}, allow_redirects=False) as paid:
            assert paid.status == 303


async def test_an_empty_database_with_our_subscribers_is_not_ready_until_they_are_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.app.startup_checks.RETRY_SECONDS", 0.05)
    write_apps(tmp_path)
    async with vendors() as around:
        await bought(around, tmp_path)
        lose_database(tmp_path)
        fault = around.stripe.fault("status", "/v1/customers", "GET", status=500, times=10_000)
        async with started(around, tmp_path) as running:
            assert "recovery" in await problems(running)
            assert (await running.json("GET", "/ready", None))[0] == 503
            around.stripe.faults.waiting.remove(fault)
            await eventually(lambda: is_over(running), "ready")
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
    monkeypatch.setattr("gateway.app.startup_checks.RETRY_SECONDS", 0.05)
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
            await eventually(lambda: is_over(running), "ready")
            assert await tier_at_gate(running) == "pro"
            assert (await running.admin("GET", "/admin/alerts"))[1]["alerts"] == []


async def test_nothing_is_written_to_litellm_before_a_restore_is_over(harness: Harness) -> None:
    await harness.subscribed("u1")
    await harness.store.write(lambda conn: provisioning.put(conn, "skai", "u1", harness.billing.work.now()))
    harness.forget_requests()
    harness.billing.account.recovering = True
    assert await harness.due.provision() == 0
    assert harness.litellm_calls() == {}
    harness.billing.account.recovering = False
    assert await harness.due.provision() == 1
    assert harness.litellm_calls()["/customer/update"] == 1
