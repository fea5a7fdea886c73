"""The portal: one configuration per app, never a free upgrade, never another app's plans."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from servers.harness import Harness

from gateway.billing.checkout.portal import open_portal
from gateway.billing.work.refusals import REFUSED
from gateway.errors import NotFound, UpstreamFailed

CONFIGURATIONS = "/v1/billing_portal/configurations"


async def portal(harness: Harness, user_id: str = "u1", app_id: str = "skai") -> str:
    return await open_portal(harness.billing, harness.billing.apps.app(app_id), user_id)


def configurations(harness: Harness) -> list[dict[str, Any]]:
    return harness.stripe.state.all("billing_portal.configuration")


def last_session(harness: Harness) -> dict[str, Any]:
    return harness.stripe.state.all("billing_portal.session")[-1]


def offered(configuration: dict[str, Any]) -> dict[str, list[str]]:
    products = configuration["features"]["subscription_update"]["products"]
    return {each["product"]: each["prices"] for each in products}


async def test_a_user_without_a_checkout_has_no_portal(harness: Harness) -> None:
    with pytest.raises(NotFound) as refused:
        await portal(harness)
    assert refused.value.code == "no_customer"
    assert list(harness.stripe.api.log) == []


async def test_the_link_leads_to_ones_own_portal_and_back_to_the_app(harness: Harness) -> None:
    await harness.checkout("u1")
    url = await portal(harness)
    session = last_session(harness)
    assert (session["url"], session["customer"]) == (url, await harness.customer_id("u1"))
    assert session["return_url"] == "https://chat.example.com/"


async def test_the_configuration_is_made_once_for_all_users_and_restarts(harness: Harness) -> None:
    await harness.checkout("u1")
    await harness.checkout("u2")
    await portal(harness)
    await portal(harness, "u2")
    await harness.restart()
    await portal(harness)
    assert len(configurations(harness)) == 1
    assert len(harness.requests("POST", CONFIGURATIONS)) == 1


async def test_two_at_once_make_one_configuration(harness: Harness) -> None:
    for user_id in ("u1", "u2", "u3"):
        await harness.checkout(user_id)
    await asyncio.gather(*(portal(harness, user_id) for user_id in ("u1", "u2", "u3")))
    assert len(configurations(harness)) == 1


async def test_t17_it_gives_nothing_away(harness: Harness) -> None:
    await harness.checkout("u1")
    await portal(harness)
    [configuration] = configurations(harness)
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


async def test_another_apps_products_are_never_offered(harness: Harness) -> None:
    await harness.checkout("u1")
    await harness.checkout("u1", "plus", app_id="studio")
    await portal(harness)
    mine = last_session(harness)["configuration"]
    await portal(harness, app_id="studio")
    theirs = last_session(harness)["configuration"]
    by_id = {each["id"]: offered(each) for each in configurations(harness)}
    assert by_id == {
        mine: {"prod_skai_pro": ["price_pro_month", "price_pro_year"], "prod_skai_enterprise": ["price_123"]},
        theirs: {"prod_studio_plus": ["price_plus"]},
    }


async def test_internal_tiers_are_not_offered(harness: Harness) -> None:
    harness.stripe.add_price("prod_skai_enterprise", 1, price_id="price_secret")
    await harness.edit(lambda apps: apps["apps"][0]["tiers"][3].update(prices=[{"price_id": "price_secret"}]))
    await harness.checkout("u1")
    await portal(harness)
    assert all("price_secret" not in prices for prices in offered(configurations(harness)[0]).values())


async def test_it_follows_the_prices(harness: Harness) -> None:
    await harness.checkout("u1")
    await portal(harness)
    for price in harness.stripe.state.all("price"):
        price["lookup_key"] = None if price["lookup_key"] == "skai_pro_month" else price["lookup_key"]
    harness.stripe.add_price("prod_skai_pro", 2500, lookup_key="skai_pro_month", price_id="price_pro_2")
    await portal(harness)
    [configuration] = configurations(harness)
    assert offered(configuration)["prod_skai_pro"] == ["price_pro_2", "price_pro_year"]
    harness.forget_requests()
    await portal(harness)
    assert harness.requests("POST", CONFIGURATIONS) == []


async def test_a_missing_price_does_not_stop_the_portal(harness: Harness) -> None:
    await harness.subscribed("u1")
    for price in harness.stripe.state.all("price"):
        price["active"] = price["id"] == "price_pro_month"
    await portal(harness)
    assert offered(configurations(harness)[0]) == {"prod_skai_pro": ["price_pro_month"]}


async def test_a_configuration_that_was_switched_off_or_lost_is_made_anew(harness: Harness) -> None:
    await harness.checkout("u1")
    await portal(harness)
    configurations(harness)[0]["active"] = False
    await portal(harness)
    assert [each["active"] for each in configurations(harness)] == [False, True]
    harness.stripe.state.objects["billing_portal.configuration"].clear()
    await portal(harness)
    await harness.edit(lambda apps: apps["apps"][0]["tiers"].pop(2))
    harness.stripe.state.objects["billing_portal.configuration"].clear()
    await portal(harness)
    assert last_session(harness)["configuration"] == configurations(harness)[-1]["id"]


async def test_a_deleted_customer_has_no_portal_any_more(harness: Harness) -> None:
    await harness.checkout("u1")
    customer_id = await harness.customer_id("u1")
    harness.stripe.state.objects["customer"][customer_id] = {"id": customer_id, "object": "customer", "deleted": True}
    with pytest.raises(NotFound) as refused:
        await portal(harness)
    assert refused.value.code == "no_customer"


async def test_t16_a_customer_that_our_key_cannot_see_is_not_taken_for_deleted(harness: Harness) -> None:
    await harness.checkout("u1")
    kept = harness.stripe.state.objects["customer"].copy()
    harness.stripe.state.objects["customer"].clear()
    with pytest.raises(UpstreamFailed):
        await portal(harness)
    harness.stripe.state.objects["customer"].update(kept)
    assert await portal(harness)


async def test_a_downgrade_waits_for_the_periods_end_and_an_upgrade_is_paid_at_once(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1", "pro")
    await harness.checkout("u1", "enterprise")
    session = last_session(harness)
    assert (
        await harness.click(session["url"], action="change_plan", price="price_123", subscription=subscription_id)
        == 303
    )
    await harness.catch_up()
    assert await harness.tier("u1") == "enterprise"
    paid = [each["amount_paid"] for each in harness.stripe.state.all("invoice")]
    assert paid[-1] > 0
    await portal(harness)
    session = last_session(harness)
    click = {"price": "price_pro_month", "subscription": subscription_id}
    assert await harness.click(session["url"], action="change_plan", **click) == 303
    await harness.catch_up()
    assert await harness.tier("u1") == "enterprise"
    harness.move(32 * 86_400)
    await harness.catch_up()
    assert await harness.tier("u1") == "pro"


async def test_too_many_products_are_alerted_and_the_buyer_gets_no_details(harness: Harness) -> None:
    await harness.checkout("u1")

    def edit(tree: Any) -> None:
        prices = tree["apps"][0]["tiers"][1]["prices"]
        prices += [{"price_id": f"price_many_{number}"} for number in range(10)]

    for number in range(10):
        product = harness.stripe.add_product(f"Many {number}")
        harness.stripe.add_price(product, 100, price_id=f"price_many_{number}")
    await harness.edit(edit)
    with pytest.raises(UpstreamFailed) as refused:
        await portal(harness)
    assert (refused.value.message, refused.value.retryable) == (REFUSED, False)
    assert await harness.alerts() == {("portal_refused", "skai/u1")}
