"""Customers who pay for a tier and are no users of ours: alerted with what to type, and never adopted by themselves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from servers.world import World

from gateway.billing.adopt import Claim, adopt_claimed
from gateway.billing.reconcile import reconcile
from gateway.billing.reconciling import Asked
from gateway.billing.signing import signed_metadata
from gateway.store import alerts, customers


async def customer(world: World, **params: Any) -> str:
    made = await world.billing.stripe.post("/v1/customers", {"email": "ada@example.com", **params})
    world.stripe.set_card(made["id"], "ok")
    return str(made["id"])


async def subscribes(world: World, customer_id: str, price_id: str = "price_pro_month", **params: Any) -> str:
    query = {"customer": customer_id, "items": [{"price": price_id}], **params}
    return str((await world.billing.stripe.post("/v1/subscriptions", query))["id"])


async def alerted(world: World) -> dict[str, str]:
    return {each.subject: each.message for each in await world.query(alerts.live) if each.kind == "unadopted_payer"}


async def is_nobody(world: World, customer_id: str) -> bool:
    return await world.query(lambda conn: customers.owner(conn, customer_id)) is None


async def test_a_sale_in_the_dashboard_is_alerted_with_the_command_that_adopts(world: World) -> None:
    customer_id = await customer(world)
    subscription_id = await subscribes(world, customer_id)
    await world.catch_up()
    [(subject, message)] = (await alerted(world)).items()
    assert subject == customer_id
    assert f"{customer_id} pays price_pro_month of skai/pro ({subscription_id})" in message
    assert f"skpay users adopt --app skai --customer {customer_id} --user USER --apply" in message
    assert await is_nobody(world, customer_id)
    await adopt_claimed(world.billing, "skai", [Claim(customer_id, "u1")], apply=True)
    assert await alerted(world) == {}
    await world.settle()
    assert (await world.tier("u1"), await world.alerts()) == ("pro", set())


async def test_what_a_payment_links_buyer_says_adopts_nobody(world: World) -> None:
    """`client_reference_id`, e-mail and unsigned metadata come from the buyer's browser."""
    mine = await world.checkout("u1", email="ada@example.com")
    claimed = {"app_id": "skai", "user_id": "u1"}
    customer_id = await customer(world, metadata=claimed)
    await subscribes(world, customer_id, metadata=claimed)
    session = {**world.stripe.world.all("checkout.session")[0], "id": "cs_test_link", "customer": customer_id,
               "client_reference_id": "u1", "status": "complete", "url": mine.url}  # fmt: skip
    world.stripe.world.emit("checkout.session.completed", session)
    await world.catch_up()
    assert set(await alerted(world)) == {customer_id}
    assert await is_nobody(world, customer_id)
    assert await world.tier("u1") == "free"


@pytest.mark.parametrize("price_id", ["price_123", "price_plus", "price_support"])
async def test_only_a_price_of_a_tier_is_alerted_and_by_its_own_app(world: World, price_id: str) -> None:
    world.stripe.add_price(world.stripe.add_product("Support"), 900, price_id="price_support")
    customer_id = await customer(world)
    await subscribes(world, customer_id, price_id)
    await world.catch_up()
    expected = {"price_123": "--app skai", "price_plus": "--app studio"}.get(price_id)
    found = await alerted(world)
    assert set(found) == ({customer_id} if expected else set())
    assert expected is None or expected in found[customer_id]


async def test_the_alert_ends_with_the_subscription(world: World) -> None:
    subscription_id = await subscribes(world, await customer(world))
    await world.catch_up()
    assert len(await alerted(world)) == 1
    world.stripe.cancel(subscription_id)
    await world.catch_up()
    assert await alerted(world) == {}


async def test_a_customer_who_subscribes_later_is_alerted_at_once(world: World) -> None:
    """Looked at a minute before, as a customer of some other product."""
    customer_id = await customer(world)
    await world.billing.stripe.post(f"/v1/customers/{customer_id}", {"name": "Ada"})
    await world.catch_up()
    assert await alerted(world) == {}
    world.move(60)
    await subscribes(world, customer_id)
    await world.catch_up()
    assert set(await alerted(world)) == {customer_id}


async def test_an_outage_puts_the_question_off_and_loses_nothing(world: World) -> None:
    customer_id = await customer(world)
    await subscribes(world, customer_id)
    world.stripe.fault("status", "/v1/subscriptions", "GET", times=3, status=503)
    await world.catch_up()
    assert await alerted(world) == {}
    world.move(120)
    await world.settle()
    assert set(await alerted(world)) == {customer_id}


async def test_the_daily_pass_counts_alerts_and_resolves(world: World) -> None:
    first, second = await customer(world), await customer(world)
    await subscribes(world, first)
    ended = await subscribes(world, second, "price_plus")
    world.events()  # lost
    dry = await reconcile(world.billing, Asked())
    shown = dry.shown()
    assert (shown["unadopted_payers"], await alerted(world)) == (2, {})
    assert any(first in line and "skpay users adopt --app skai" in line for line in shown["unadopted"])  # type: ignore[union-attr]
    await reconcile(world.billing, Asked(apply=True))
    assert set(await alerted(world)) == {first, second}
    world.stripe.cancel(ended)
    world.events()  # lost
    world.move(3 * 3600)
    report = await reconcile(world.billing, Asked(apply=True))
    assert (report.shown()["unadopted_payers"], set(await alerted(world))) == (1, {first})


async def test_a_pass_over_one_app_leaves_the_others_alone(world: World) -> None:
    first, second = await customer(world), await customer(world)
    await subscribes(world, first)
    await subscribes(world, second, "price_plus")
    world.events()
    report = await reconcile(world.billing, Asked(apply=True, app_id="studio"))
    assert (list(report.unadopted), set(await alerted(world))) == ([second], {second})


async def test_the_daily_pass_takes_back_a_customer_that_we_signed(world: World) -> None:
    """Ours by its signature: a row that was lost, whose owner needs no operator."""
    signed = {str(key): str(value) for key, value in signed_metadata(world.billing.signing_keys, "skai", "u1").items()}
    customer_id = await customer(world, metadata=signed)
    await subscribes(world, customer_id)
    world.events()
    await reconcile(world.billing, Asked(apply=True))
    await world.settle()
    assert (await world.tier("u1"), await alerted(world)) == ("pro", {})


async def test_customers_of_other_products_are_asked_about_once_an_hour_each(world: World) -> None:
    world.stripe.add_price(world.stripe.add_product("Support"), 900, price_id="price_support")
    found = [await customer(world) for _ in range(12)]
    await asyncio.gather(*(subscribes(world, each, "price_support") for each in found))
    world.forget_requests()
    await world.catch_up()
    assert len(world.asked("GET", "/v1/customers/")) == 12
    # More than once where the customer and the subscription came in different batches of events.
    assert {seen.params["customer"] for seen in world.asked("GET", "/v1/subscriptions")} == set(found)
    world.forget_requests()
    for each in found:
        await world.billing.stripe.post(f"/v1/customers/{each}", {"name": "Ada"})
    await world.catch_up()
    assert world.asked("GET", "/v1/customers/") == world.asked("GET", "/v1/subscriptions") == []
