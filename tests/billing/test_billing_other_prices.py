"""A payer of something else than a tier: no alert about it, no plan made of it, and a tier can be bought beside it."""

from __future__ import annotations

from typing import Any

import pytest
from servers.harness import Harness

from gateway.billing.checkout.prices import resolve_prices
from gateway.sandbox.stripe.billing import start


@pytest.fixture
async def selling(harness: Harness) -> Harness:
    """Support is sold at Stripe and apps.json does not know of it; seats are declared."""
    support = harness.stripe.add_product("Support", product_id="prod_support")
    harness.stripe.add_price(support, 900, price_id="price_support")
    seats = harness.stripe.add_product("Seats", product_id="prod_seats")
    harness.stripe.add_price(seats, 500, price_id="price_seat", lookup_key="skai_seat")
    await harness.edit(lambda apps: apps["apps"][0].update(other_prices=[{"lookup_key": "skai_seat"}]))
    return harness


async def pays(harness: Harness, user_id: str, *price_ids: str) -> str:
    """Sold in the Dashboard to a customer that is ours."""
    customer_id = await harness.customer_id(user_id)
    harness.stripe.state.cards[customer_id] = "ok"
    items = [{"price": price_id, "quantity": 1} for price_id in price_ids]
    return str(start(harness.stripe.state, customer_id, items, {})["id"])


def last_flow(harness: Harness) -> Any:
    return harness.stripe.state.all("billing_portal.session")[-1]["flow"]


@pytest.mark.parametrize("price_id", ["price_support", "price_seat"])
async def test_a_subscription_to_other_prices_raises_no_duplicate_alert(selling: Harness, price_id: str) -> None:
    await selling.subscribed("u1", "pro")
    await pays(selling, "u1", price_id)
    await selling.catch_up()
    assert await selling.tier("u1") == "pro"
    assert "duplicate_subscription" not in {kind for kind, _ in await selling.alerts()}


@pytest.mark.parametrize("price_id", ["price_support", "price_seat"])
async def test_a_user_with_only_other_prices_buys_a_tier_at_a_checkout(selling: Harness, price_id: str) -> None:
    """And not at a portal link that would turn the support plan into the tier."""
    await selling.checkout("u1", "enterprise")
    other = await pays(selling, "u1", price_id)
    await selling.catch_up()
    link = await selling.checkout("u1", "pro")
    assert link.kind == "checkout"
    assert await selling.click(link.url, action="pay") == 303
    await selling.catch_up()
    assert await selling.tier("u1") == "pro"
    assert selling.stripe.state.find("subscription", other)["items"]["data"][0]["price"] == price_id


@pytest.mark.parametrize("price_id", ["price_support", "price_seat"])
async def test_the_change_of_plan_is_of_the_subscription_to_a_tier(selling: Harness, price_id: str) -> None:
    plan = await selling.subscribed("u1", "pro")
    await pays(selling, "u1", price_id)  # the newest, which Stripe lists first
    await selling.catch_up()
    assert (await selling.checkout("u1", "enterprise")).kind == "portal"
    assert last_flow(selling)["subscription_update_confirm"]["subscription"] == plan


async def test_a_plan_with_seats_beside_it_is_changed_in_the_whole_portal(selling: Harness) -> None:
    """Stripe confirms no change of a subscription with two items; the seat item must not become the plan."""
    await selling.checkout("u1", "pro")
    await pays(selling, "u1", "price_seat", "price_pro_month")
    await selling.catch_up()
    assert await selling.tier("u1") == "pro"
    assert (await selling.checkout("u1", "enterprise")).kind == "portal"
    assert last_flow(selling) is None


async def test_the_tier_ends_with_its_item_and_a_checkout_opens(selling: Harness) -> None:
    await selling.checkout("u1", "pro")
    subscription_id = await pays(selling, "u1", "price_pro_month", "price_seat")
    await selling.catch_up()
    assert await selling.tier("u1") == "pro"
    items = selling.stripe.state.find("subscription", subscription_id)["items"]["data"]
    items[:] = [each for each in items if each["price"] == "price_seat"]
    await selling.want("u1")
    await selling.settle()
    assert (await selling.tier("u1"), await selling.alerts()) == ("free", set())
    assert (await selling.checkout("u1", "pro")).kind == "checkout"


async def test_an_edit_that_declares_a_price_ends_its_alert(selling: Harness) -> None:
    await selling.checkout("u1", "pro")
    await pays(selling, "u1", "price_support")
    await selling.catch_up()
    assert {kind for kind, _ in await selling.alerts()} == {"unknown_price"}
    await selling.edit(lambda apps: apps["apps"][0].update(other_prices=[{"product_id": "prod_support"}]))
    await resolve_prices(selling.billing)
    await selling.settle()
    assert await selling.alerts() == set()


async def test_a_tiers_product_among_other_prices_is_alerted(selling: Harness) -> None:
    await selling.edit(lambda apps: apps["apps"][0].update(other_prices=[{"product_id": "prod_skai_enterprise"}]))
    await resolve_prices(selling.billing)
    assert await selling.alerts() == {("price_differs", "skai/enterprise/price_123")}


async def test_a_restart_while_stripe_is_away_takes_no_tier_for_something_else(selling: Harness) -> None:
    """Before the prices are resolved a subscription to a tier might look like one to something else."""
    await selling.subscribed("u1", "pro")
    await selling.restart()
    selling.billing.prices.known_prices = {}
    assert (await selling.checkout("u1", "enterprise")).kind == "portal"
