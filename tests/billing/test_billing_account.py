"""A store belongs to one Stripe account and mode: another's key must not make everybody look deleted (T16)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer
from servers.running import environ_of, vendors, write_apps
from servers.world import World
from sqlalchemy import Connection

from gateway.app.application import Application
from gateway.billing.account import MODE, AccountCheck, binding, refuse_wrong_account
from gateway.billing.account_move import move_account
from gateway.errors import ConfigError, UpstreamFailed
from gateway.sandbox.stripe import StripeSandbox
from gateway.settings import Secret, read_settings
from gateway.store import checkouts, customers, grants, instance, keys, litellm_ids, prices
from gateway.stripe.client import Stripe


async def check(world: World) -> None:
    await AccountCheck(world.billing, await world.query(binding)).ask()


async def refused(world: World) -> str:
    with pytest.raises(ConfigError) as told:
        await check(world)
    assert "skpay account move" in told.value.message
    return str(told.value.message)


@pytest.fixture
async def other() -> AsyncIterator[tuple[StripeSandbox, str]]:
    """Another account of Stripe, which takes the same key."""
    sandbox = StripeSandbox(secret_key="sk_test_1f0c7a", account_id="acct_other")
    async with TestServer(sandbox.application()) as server:
        yield sandbox, str(server.make_url("")).rstrip("/")


def ask_at(world: World, url: str, key: str = "sk_test_1f0c7a") -> None:
    world.billing.stripe = Stripe(world.http, (Secret(key),), api_base=url)


async def test_a_store_is_bound_to_the_account_that_answers(world: World) -> None:
    await check(world)
    bound = await world.query(binding)
    assert (bound.account, bound.mode, world.billing.account) == ("acct_sandbox", "test", "acct_sandbox")


async def test_t16_the_key_of_another_account_is_refused(world: World, other: tuple[StripeSandbox, str]) -> None:
    await world.subscribed("u1")
    ask_at(world, other[1])
    assert "cannot read" in await refused(world)  # never bound, the customer alone tells
    assert (await world.query(binding)).mode == ""


async def test_another_account_is_told_by_its_id_where_customers_have_the_same_id(
    world: World, other: tuple[StripeSandbox, str]
) -> None:
    await world.subscribed("u1")
    await check(world)
    other[0].world.add({**world.stripe.world.all("customer")[0]})
    ask_at(world, other[1])
    assert "acct_other" in await refused(world)


async def test_a_live_key_on_a_test_store_is_refused_without_asking_anybody(world: World) -> None:
    await world.subscribed("u1")
    await world.store.write(lambda conn: instance.put(conn, MODE, "live"))
    world.forget_requests()
    assert "is a test key" in await refused(world)
    assert world.asked("GET", "/v1/") == []


async def test_a_key_that_stripe_does_not_know_is_refused_once_there_are_customers(world: World) -> None:
    ask_at(world, world.stripe_url, "sk_test_of_nobody")
    with pytest.raises(UpstreamFailed):
        await check(world)  # nothing to lose yet
    ask_at(world, world.stripe_url)
    await world.subscribed("u1")
    ask_at(world, world.stripe_url, "sk_test_of_nobody")
    assert "does not know this key" in await refused(world)


async def test_a_deleted_customer_is_still_a_proof(world: World) -> None:
    await world.subscribed("u1")
    async with world.http.delete(
        f"{world.stripe_url}/v1/customers/{await world.customer_id('u1')}",
        headers={"Authorization": "Bearer sk_test_1f0c7a"},
    ) as answer:
        assert answer.status == 200
    await check(world)
    assert (await world.query(binding)).account == "acct_sandbox"


async def test_a_restricted_key_that_may_not_read_the_account_binds_by_the_customer(world: World) -> None:
    await world.subscribed("u1")
    world.stripe.fault("status", "/v1/account", status=403, times=1)
    await check(world)
    bound = await world.query(binding)
    assert (bound.account, bound.mode) == ("", "test")
    await check(world)
    assert (await world.query(binding)).account == "acct_sandbox"


async def test_without_customers_another_account_is_simply_the_new_one(
    world: World, other: tuple[StripeSandbox, str]
) -> None:
    await check(world)
    ask_at(world, other[1])
    await check(world)
    assert (await world.query(binding)).account == "acct_other"


async def test_a_customer_made_after_the_start_proves_nothing(world: World, other: tuple[StripeSandbox, str]) -> None:
    await world.subscribed("u1")
    at_start = AccountCheck(world.billing, await world.query(binding))
    ask_at(world, other[1])
    made = await world.billing.stripe.post("/v1/customers", {})
    world.clock.now += 1
    await world.store.write(lambda conn: customers.add(conn, "skai", "u2", made["id"], None, world.billing.now()))
    with pytest.raises(ConfigError):
        await at_start.ask()


async def test_a_wrong_account_found_while_serving_sells_nothing_and_lowers_nobody(world: World) -> None:
    await world.subscribed("u1")
    await refuse_wrong_account(world.billing, "STRIPE_SECRET_KEY: is of another account")
    assert ("account_mismatch", "key") in await world.alerts()
    with pytest.raises(UpstreamFailed):
        await world.checkout("u2")
    assert await world.tier("u1") == "pro"
    await check(world)  # the right key again
    assert ("account_mismatch", "key") not in await world.alerts()
    assert (await world.checkout("u2")).kind == "checkout"


async def test_an_event_of_another_account_is_acknowledged_ignored_and_told(world: World) -> None:
    await world.subscribed("u1")
    await check(world)
    [event] = [each for each in world.stripe.world.all("event") if each["type"] == "customer.subscription.created"]
    world.forget_requests()
    assert await world.post({**event, "id": "evt_connected", "account": "acct_connected"})
    await world.settle()
    assert ("account_mismatch", "acct_connected") in await world.alerts()
    assert world.asked("GET", "/v1/") == []
    assert await world.post({**event, "id": "evt_own", "account": "acct_sandbox"})
    await world.settle()
    assert len(world.asked("GET", "/v1/subscriptions")) == 1


async def test_a_subscription_that_vanished_keeps_its_tier_with_an_alert(world: World) -> None:
    subscription_id = await world.subscribed("u1")
    hidden = world.stripe.world.objects["subscription"].pop(subscription_id)
    for _ in range(2):
        await world.want("u1")
        await world.settle()
        status = await world.status("u1")
        assert (status["tier"], status["status"]) == ("pro", "active")
        assert await world.alerts() == {("subscription_vanished", subscription_id)}
    world.stripe.world.objects["subscription"][subscription_id] = hidden
    world.stripe.cancel(subscription_id)
    await world.catch_up()
    assert await world.tier("u1") == "free"
    assert await world.alerts() == set()


async def test_a_deleted_customers_subscription_has_not_vanished(world: World) -> None:
    subscription_id = await world.subscribed("u1")
    await world.billing.stripe.delete(f"/v1/customers/{await world.customer_id('u1')}")
    del world.stripe.world.objects["subscription"][subscription_id]
    world.stripe.fault("status", "/v1/subscriptions", "GET", status=404, code="resource_missing", times=1)
    await world.want("u1")
    await world.settle()
    assert await world.tier("u1") == "free"


async def test_moving_forgets_the_account_and_keeps_what_is_ours(world: World) -> None:
    await world.subscribed("u1")
    await world.subscribed("u2")
    now = world.billing.now()

    def give(conn: Connection) -> None:
        grants.add(conn, "skai", "u2", "sovereign", "founder", None, now)
        keys.add(conn, "user", b"k" * 32, "skai", "u1", "", now)

    await world.store.write(give)
    await world.want("u2")
    await world.settle()
    await check(world)
    moved = await world.store.write(lambda conn: move_account(conn, now))
    assert moved.users == 2
    assert moved.forgotten["customers"] == 2
    assert moved.forgotten["entitlements"] == 1
    assert await world.query(prices.known) == {}
    assert await world.query(lambda conn: checkouts.get(conn, "skai", "u1")) is None
    bound = await world.query(binding)
    assert (bound.account, bound.mode, bound.newest) == ("", "", None)
    assert len(await world.query(keys.live)) == 1
    await world.settle()
    assert (await world.tier("u1"), await world.tier("u2")) == ("free", "sovereign")
    assert world.limits("u1") == {"budget_id": "skai.free", "max_budget": 1, "rpm_limit": 10}
    assert await world.query(lambda conn: litellm_ids.get(conn, "customer", "u1")) is not None


async def settled(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + 20
    while not await condition():
        assert asyncio.get_running_loop().time() < deadline, what
        await asyncio.sleep(0.05)


async def test_an_outage_at_the_start_stops_nothing_and_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.app.first_contact.AGAIN_SECONDS", 0.05)
    write_apps(tmp_path)
    async with vendors() as around:
        fault = around.stripe.fault("status", "/v1/account", status=500, times=10_000)
        full = environ_of(tmp_path, stripe_url=around.stripe_url, litellm_url=around.litellm_url)
        application = Application(read_settings(full), full)
        await application.start()
        try:
            assert "account" in application.problems()
            around.stripe.faults.waiting.remove(fault)

            async def known() -> bool:
                return "account" not in application.problems()

            await settled(known, "the account is never found out")
        finally:
            await application.stop()


async def test_a_wrong_key_that_shows_after_the_start_makes_it_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.app.first_contact.AGAIN_SECONDS", 0.05)
    write_apps(tmp_path)
    async with vendors() as around:
        full = environ_of(tmp_path, stripe_url=around.stripe_url, litellm_url=around.litellm_url)
        application = Application(read_settings(full), full)
        await application.start()
        await application._store.write(lambda conn: customers.add(conn, "skai", "u1", "cus_elsewhere", None, 1))
        await application.stop()
        fault = around.stripe.fault("status", "/v1/customers/cus_elsewhere", status=500, times=10_000)
        application = Application(read_settings(full), full)
        await application.start()
        try:
            around.stripe.faults.waiting.remove(fault)

            async def told() -> bool:
                return "skai" in application._billing.catalog.apps and application._billing.wrong_account

            await settled(told, "the wrong key is never told")
            assert "skpay account move" in application.problems()["account"]
        finally:
            await application.stop()
        with pytest.raises(ConfigError, match="account move"):
            await Application(read_settings(full), full).start()
