"""The portal: one configuration per app, never a free upgrade, never another app's plans."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from servers.world import World

from gateway.billing.portal import open_portal
from gateway.billing.refusals import REFUSED
from gateway.errors import NotFound, UpstreamFailed

CONFIGURATIONS = "/v1/billing_portal/configurations"


async def portal(world: World, user_id: str = "u1", app_id: str = "skai") -> str:
    return await open_portal(world.billing, world.billing.app(app_id), user_id)


def configurations(world: World) -> list[dict[str, Any]]:
    return world.stripe.world.all("billing_portal.configuration")


def last_session(world: World) -> dict[str, Any]:
    return world.stripe.world.all("billing_portal.session")[-1]


def offered(configuration: dict[str, Any]) -> dict[str, list[str]]:
    products = configuration["features"]["subscription_update"]["products"]
    return {each["product"]: each["prices"] for each in products}


async def test_who_has_never_been_to_a_checkout_has_no_portal(world: World) -> None:
    with pytest.raises(NotFound) as refused:
        await portal(world)
    assert refused.value.code == "no_customer"
    assert list(world.stripe.api.log) == []


async def test_the_link_leads_to_ones_own_portal_and_back_to_the_app(world: World) -> None:
    await world.checkout("u1")
    url = await portal(world)
    session = last_session(world)
    assert (session["url"], session["customer"]) == (url, await world.customer_id("u1"))
    assert session["return_url"] == "https://chat.example.com/"


async def test_the_configuration_is_made_once_for_all_users_and_restarts(world: World) -> None:
    await world.checkout("u1")
    await world.checkout("u2")
    await portal(world)
    await portal(world, "u2")
    await world.restart()
    await portal(world)
    assert len(configurations(world)) == 1
    assert len(world.asked("POST", CONFIGURATIONS)) == 1


async def test_two_at_once_make_one_configuration(world: World) -> None:
    for user_id in ("u1", "u2", "u3"):
        await world.checkout(user_id)
    await asyncio.gather(*(portal(world, user_id) for user_id in ("u1", "u2", "u3")))
    assert len(configurations(world)) == 1


async def test_t17_it_gives_nothing_away(world: World) -> None:
    await world.checkout("u1")
    await portal(world)
    [configuration] = configurations(world)
    update = configuration["features"]["subscription_update"]
    assert update["proration_behavior"] == "always_invoice"
    assert update["default_allowed_updates"] == ["price"]
    assert sorted(each["type"] for each in update["schedule_at_period_end"]["conditions"]) == [
        "decreasing_item_amount",
        "shortening_interval",
    ]
    assert [each["adjustable_quantity"]["enabled"] for each in update["products"]] == [False, False]
    assert configuration["features"]["subscription_cancel"]["mode"] == "at_period_end"
    assert configuration["login_page"]["enabled"] is False


async def test_another_apps_products_are_never_offered(world: World) -> None:
    await world.checkout("u1")
    await world.checkout("u1", "plus", app_id="studio")
    await portal(world)
    mine = last_session(world)["configuration"]
    await portal(world, app_id="studio")
    theirs = last_session(world)["configuration"]
    by_id = {each["id"]: offered(each) for each in configurations(world)}
    assert by_id == {
        mine: {"prod_skai_pro": ["price_pro_month", "price_pro_year"], "prod_skai_enterprise": ["price_123"]},
        theirs: {"prod_studio_plus": ["price_plus"]},
    }


async def test_internal_tiers_are_not_offered(world: World) -> None:
    world.stripe.add_price("prod_skai_enterprise", 1, price_id="price_secret")
    await world.edit(lambda apps: apps["apps"][0]["tiers"][3].update(prices=[{"price_id": "price_secret"}]))
    await world.checkout("u1")
    await portal(world)
    assert all("price_secret" not in prices for prices in offered(configurations(world)[0]).values())


async def test_it_follows_the_prices(world: World) -> None:
    await world.checkout("u1")
    await portal(world)
    for price in world.stripe.world.all("price"):
        price["lookup_key"] = None if price["lookup_key"] == "skai_pro_month" else price["lookup_key"]
    world.stripe.add_price("prod_skai_pro", 2500, lookup_key="skai_pro_month", price_id="price_pro_2")
    await portal(world)
    [configuration] = configurations(world)
    assert offered(configuration)["prod_skai_pro"] == ["price_pro_2", "price_pro_year"]
    world.forget_requests()
    await portal(world)
    assert world.asked("POST", CONFIGURATIONS) == []


async def test_a_missing_price_keeps_nobody_from_canceling(world: World) -> None:
    await world.subscribed("u1")
    for price in world.stripe.world.all("price"):
        price["active"] = price["id"] == "price_pro_month"
    await portal(world)
    assert offered(configurations(world)[0]) == {"prod_skai_pro": ["price_pro_month"]}


async def test_a_configuration_that_was_switched_off_or_lost_is_made_anew(world: World) -> None:
    await world.checkout("u1")
    await portal(world)
    configurations(world)[0]["active"] = False
    await portal(world)
    assert [each["active"] for each in configurations(world)] == [False, True]
    world.stripe.world.objects["billing_portal.configuration"].clear()
    await portal(world)
    await world.edit(lambda apps: apps["apps"][0]["tiers"].pop(2))
    world.stripe.world.objects["billing_portal.configuration"].clear()
    await portal(world)
    assert last_session(world)["configuration"] == configurations(world)[-1]["id"]


async def test_a_deleted_customer_has_no_portal_any_more(world: World) -> None:
    await world.checkout("u1")
    customer_id = await world.customer_id("u1")
    world.stripe.world.objects["customer"][customer_id] = {"id": customer_id, "object": "customer", "deleted": True}
    with pytest.raises(NotFound) as refused:
        await portal(world)
    assert refused.value.code == "no_customer"


async def test_t16_a_customer_that_our_key_cannot_see_is_not_taken_for_deleted(world: World) -> None:
    await world.checkout("u1")
    kept = world.stripe.world.objects["customer"].copy()
    world.stripe.world.objects["customer"].clear()
    with pytest.raises(UpstreamFailed):
        await portal(world)
    world.stripe.world.objects["customer"].update(kept)
    assert await portal(world)


async def test_a_downgrade_waits_for_the_periods_end_and_an_upgrade_is_paid_at_once(world: World) -> None:
    subscription_id = await world.subscribed("u1", "pro")
    await world.checkout("u1", "enterprise")
    session = last_session(world)
    assert (
        await world.click(session["url"], action="change_plan", price="price_123", subscription=subscription_id) == 303
    )
    await world.catch_up()
    assert await world.tier("u1") == "enterprise"
    paid = [each["amount_paid"] for each in world.stripe.world.all("invoice")]
    assert paid[-1] > 0
    await portal(world)
    session = last_session(world)
    click = {"price": "price_pro_month", "subscription": subscription_id}
    assert await world.click(session["url"], action="change_plan", **click) == 303
    await world.catch_up()
    assert await world.tier("u1") == "enterprise"
    world.move(32 * 86_400)
    await world.catch_up()
    assert await world.tier("u1") == "pro"


async def test_too_many_products_are_told_to_the_operator_and_not_to_the_buyer(world: World) -> None:
    await world.checkout("u1")

    def edit(tree: Any) -> None:
        prices = tree["apps"][0]["tiers"][1]["prices"]
        prices += [{"price_id": f"price_many_{number}"} for number in range(10)]

    for number in range(10):
        product = world.stripe.add_product(f"Many {number}")
        world.stripe.add_price(product, 100, price_id=f"price_many_{number}")
    await world.edit(edit)
    with pytest.raises(UpstreamFailed) as refused:
        await portal(world)
    assert (refused.value.message, refused.value.retryable) == (REFUSED, False)
    assert await world.alerts() == {("portal_refused", "skai/u1")}
