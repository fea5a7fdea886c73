"""A store belongs to one Stripe account and mode: with another key no customer may count as deleted (T16)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer
from servers.harness import Harness
from servers.running import environ_of, vendors, write_apps
from sqlalchemy import Connection

from gateway.app.application import Application
from gateway.billing.accounts.account import MODE, AccountCheck, binding, refuse_wrong_account
from gateway.billing.accounts.account_move import move_account
from gateway.errors import ConfigError, UpstreamFailed
from gateway.sandbox.stripe import StripeSandbox
from gateway.settings import Secret, read_settings
from gateway.store import checkouts, customers, grants, instance, keys, litellm_ids, prices
from gateway.stripe.client import Stripe
from gateway.stripe.transport import Transport


async def check(harness: Harness) -> None:
    await AccountCheck(harness.billing, await harness.query(binding)).run()


async def refused(harness: Harness) -> str:
    with pytest.raises(ConfigError) as reported:
        await check(harness)
    assert "skpay account move" in reported.value.message
    return str(reported.value.message)


@pytest.fixture
async def other() -> AsyncIterator[tuple[StripeSandbox, str]]:
    """Another account of Stripe, which takes the same key."""
    sandbox = StripeSandbox(secret_key="sk_test_1f0c7a", account_id="acct_other")
    async with TestServer(sandbox.application()) as server:
        yield sandbox, str(server.make_url("")).rstrip("/")


def ask_at(harness: Harness, url: str, key: str = "sk_test_1f0c7a") -> None:
    harness.billing.stripe = Stripe(Transport(harness.http, (Secret(key),), api_base=url))


async def test_a_store_is_bound_to_the_account_that_answers(harness: Harness) -> None:
    await check(harness)
    bound = await harness.query(binding)
    assert (bound.account, bound.mode, harness.billing.account.account_id) == ("acct_sandbox", "test", "acct_sandbox")


async def test_t16_the_key_of_another_account_is_refused(harness: Harness, other: tuple[StripeSandbox, str]) -> None:
    await harness.subscribed("u1")
    ask_at(harness, other[1])
    assert "cannot read" in await refused(harness)  # never bound: only the customer shows it
    assert (await harness.query(binding)).mode == ""


async def test_another_account_is_recognised_by_its_id_where_customers_have_the_same_id(
    harness: Harness, other: tuple[StripeSandbox, str]
) -> None:
    await harness.subscribed("u1")
    await check(harness)
    other[0].state.add({**harness.stripe.state.all("customer")[0]})
    ask_at(harness, other[1])
    assert "acct_other" in await refused(harness)


async def test_a_live_key_on_a_test_store_is_refused_without_asking_anybody(harness: Harness) -> None:
    await harness.subscribed("u1")
    await harness.store.write(lambda conn: instance.put(conn, MODE, "live"))
    harness.forget_requests()
    assert "is a test key" in await refused(harness)
    assert harness.requests("GET", "/v1/") == []


async def test_a_key_that_stripe_does_not_know_is_refused_once_there_are_customers(harness: Harness) -> None:
    ask_at(harness, harness.stripe_url, "sk_test_of_nobody")
    with pytest.raises(UpstreamFailed):
        await check(harness)  # nothing to lose yet
    ask_at(harness, harness.stripe_url)
    await harness.subscribed("u1")
    ask_at(harness, harness.stripe_url, "sk_test_of_nobody")
    assert "does not know this key" in await refused(harness)


async def test_a_deleted_customer_is_still_a_proof(harness: Harness) -> None:
    await harness.subscribed("u1")
    async with harness.http.delete(
        f"{harness.stripe_url}/v1/customers/{await harness.customer_id('u1')}",
        headers={"Authorization": "Bearer sk_test_1f0c7a"},
    ) as answer:
        assert answer.status == 200
    await check(harness)
    assert (await harness.query(binding)).account == "acct_sandbox"


async def test_a_restricted_key_that_may_not_read_the_account_binds_by_the_customer(harness: Harness) -> None:
    await harness.subscribed("u1")
    harness.stripe.fault("status", "/v1/account", status=403, times=1)
    await check(harness)
    bound = await harness.query(binding)
    assert (bound.account, bound.mode) == ("", "test")
    await check(harness)
    assert (await harness.query(binding)).account == "acct_sandbox"


async def test_without_customers_another_account_is_simply_the_new_one(
    harness: Harness, other: tuple[StripeSandbox, str]
) -> None:
    await check(harness)
    ask_at(harness, other[1])
    await check(harness)
    assert (await harness.query(binding)).account == "acct_other"


async def test_a_customer_made_after_the_start_proves_nothing(
    harness: Harness, other: tuple[StripeSandbox, str]
) -> None:
    await harness.subscribed("u1")
    at_start = AccountCheck(harness.billing, await harness.query(binding))
    ask_at(harness, other[1])
    made = await harness.billing.stripe.transport.post("/v1/customers", {})
    harness.clock.now += 1
    await harness.store.write(
        lambda conn: customers.add(conn, "skai", "u2", made["id"], None, harness.billing.work.now())
    )
    with pytest.raises(ConfigError):
        await at_start.run()


async def test_a_wrong_account_found_while_serving_sells_nothing_and_keeps_all_tiers(harness: Harness) -> None:
    await harness.subscribed("u1")
    await refuse_wrong_account(
        harness.billing.work, harness.billing.account, "STRIPE_SECRET_KEY: is of another account"
    )
    assert ("account_mismatch", "key") in await harness.alerts()
    with pytest.raises(UpstreamFailed):
        await harness.checkout("u2")
    assert await harness.tier("u1") == "pro"
    await check(harness)  # back to the right key
    assert ("account_mismatch", "key") not in await harness.alerts()
    assert (await harness.checkout("u2")).kind == "checkout"


async def test_an_event_of_another_account_is_acknowledged_ignored_and_alerted(harness: Harness) -> None:
    await harness.subscribed("u1")
    await check(harness)
    [event] = [each for each in harness.stripe.state.all("event") if each["type"] == "customer.subscription.created"]
    harness.forget_requests()
    assert await harness.post({**event, "id": "evt_connected", "account": "acct_connected"})
    await harness.settle()
    assert ("account_mismatch", "acct_connected") in await harness.alerts()
    assert harness.requests("GET", "/v1/") == []
    assert await harness.post({**event, "id": "evt_own", "account": "acct_sandbox"})
    await harness.settle()
    assert len(harness.requests("GET", "/v1/subscriptions")) == 1


async def test_a_subscription_that_vanished_keeps_its_tier_with_an_alert(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1")
    hidden = harness.stripe.state.objects["subscription"].pop(subscription_id)
    for _ in range(2):
        await harness.want("u1")
        await harness.settle()
        status = await harness.status("u1")
        assert (status["tier"], status["status"]) == ("pro", "active")
        assert await harness.alerts() == {("subscription_missing", subscription_id)}
    harness.stripe.state.objects["subscription"][subscription_id] = hidden
    harness.stripe.cancel(subscription_id)
    await harness.catch_up()
    assert await harness.tier("u1") == "free"
    assert await harness.alerts() == set()


async def test_a_deleted_customers_subscription_has_not_vanished(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1")
    await harness.billing.stripe.transport.delete(f"/v1/customers/{await harness.customer_id('u1')}")
    del harness.stripe.state.objects["subscription"][subscription_id]
    harness.stripe.fault("status", "/v1/subscriptions", "GET", status=404, code="resource_missing", times=1)
    await harness.want("u1")
    await harness.settle()
    assert await harness.tier("u1") == "free"


async def test_moving_forgets_the_account_and_keeps_what_is_ours(harness: Harness) -> None:
    await harness.subscribed("u1")
    await harness.subscribed("u2")
    now = harness.billing.work.now()

    def give(conn: Connection) -> None:
        grants.add(conn, "skai", "u2", "sovereign", "founder", None, now)
        keys.add(conn, "user", b"k" * 32, "skai", "u1", "", now)

    await harness.store.write(give)
    await harness.want("u2")
    await harness.settle()
    await check(harness)
    moved = await harness.billing.work.write(move_account)
    assert moved.users == 2
    assert moved.forgotten["customers"] == 2
    assert moved.forgotten["entitlements"] == 1
    assert await harness.query(prices.known) == {}
    assert await harness.query(lambda conn: checkouts.get(conn, "skai", "u1")) is None
    bound = await harness.query(binding)
    assert (bound.account, bound.mode, bound.newest) == ("", "", None)
    assert len(await harness.query(keys.live)) == 1
    await harness.settle()
    assert (await harness.tier("u1"), await harness.tier("u2")) == ("free", "sovereign")
    assert harness.limits("u1") == {"budget_id": "skai.free", "max_budget": 1, "rpm_limit": 10}
    assert await harness.query(lambda conn: litellm_ids.get(conn, "customer", "u1")) is not None


async def settled(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + 20
    while not await condition():
        assert asyncio.get_running_loop().time() < deadline, what
        await asyncio.sleep(0.05)


async def test_an_outage_at_the_start_stops_nothing_and_the_check_is_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.app.startup_checks.RETRY_SECONDS", 0.05)
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
    monkeypatch.setattr("gateway.app.startup_checks.RETRY_SECONDS", 0.05)
    write_apps(tmp_path)
    async with vendors() as around:
        full = environ_of(tmp_path, stripe_url=around.stripe_url, litellm_url=around.litellm_url)
        application = Application(read_settings(full), full)
        await application.start()
        await application.parts.store.write(lambda conn: customers.add(conn, "skai", "u1", "cus_elsewhere", None, 1))
        await application.stop()
        fault = around.stripe.fault("status", "/v1/customers/cus_elsewhere", status=500, times=10_000)
        application = Application(read_settings(full), full)
        await application.start()
        try:
            around.stripe.faults.waiting.remove(fault)

            async def reported() -> bool:
                return "skai" in application.parts.billing.apps.catalog.apps and application.parts.billing.account.wrong

            await settled(reported, "the wrong key is reported")
            assert "skpay account move" in application.problems()["account"]
        finally:
            await application.stop()
        with pytest.raises(ConfigError, match="account move"):
            await Application(read_settings(full), full).start()
