"""Customers that pay for a tier and are no users of ours: alerted with the command, never adopted automatically."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from servers.harness import Harness

from gateway.billing.accounts.adopt import Assignment, adopt_assigned
from gateway.billing.reconcile.reconcile import reconcile
from gateway.billing.reconcile.state import ReconcileOptions
from gateway.store import alerts, customers
from gateway.stripe.ownership import signed_metadata


async def customer(harness: Harness, **params: Any) -> str:
    made = await harness.billing.stripe.transport.post("/v1/customers", {"email": "ada@example.com", **params})
    harness.stripe.set_card(made["id"], "ok")
    return str(made["id"])


async def subscribes(harness: Harness, customer_id: str, price_id: str = "price_pro_month", **params: Any) -> str:
    query = {"customer": customer_id, "items": [{"price": price_id}], **params}
    return str((await harness.billing.stripe.transport.post("/v1/subscriptions", query))["id"])


async def alerted(harness: Harness) -> dict[str, str]:
    return {each.subject: each.message for each in await harness.query(alerts.live) if each.kind == "unadopted_payer"}


async def is_nobody(harness: Harness, customer_id: str) -> bool:
    return await harness.query(lambda conn: customers.owner(conn, customer_id)) is None


async def test_a_sale_in_the_dashboard_is_alerted_with_the_command_that_adopts(harness: Harness) -> None:
    customer_id = await customer(harness)
    subscription_id = await subscribes(harness, customer_id)
    await harness.catch_up()
    [(subject, message)] = (await alerted(harness)).items()
    assert subject == customer_id
    assert f"{customer_id} pays price_pro_month of skai/pro ({subscription_id})" in message
    assert f"skpay users adopt --app skai --customer {customer_id} --user USER --apply" in message
    assert await is_nobody(harness, customer_id)
    await adopt_assigned(harness.billing, "skai", [Assignment(customer_id, "u1")], apply=True)
    assert await alerted(harness) == {}
    await harness.settle()
    assert (await harness.tier("u1"), await harness.alerts()) == ("pro", set())


async def test_a_payment_links_client_reference_id_adopts_no_customer(harness: Harness) -> None:
    """`client_reference_id`, e-mail and unsigned metadata come from the buyer's browser."""
    mine = await harness.checkout("u1", email="ada@example.com")
    metadata = {"app_id": "skai", "user_id": "u1"}
    customer_id = await customer(harness, metadata=metadata)
    await subscribes(harness, customer_id, metadata=metadata)
    session = {**harness.stripe.state.all("checkout.session")[0], "id": "cs_test_link", "customer": customer_id,
               "client_reference_id": "u1", "status": "complete", "url": mine.url}  # fmt: skip
    harness.stripe.state.emit("checkout.session.completed", session)
    await harness.catch_up()
    assert set(await alerted(harness)) == {customer_id}
    assert await is_nobody(harness, customer_id)
    assert await harness.tier("u1") == "free"


@pytest.mark.parametrize("price_id", ["price_123", "price_plus", "price_support"])
async def test_only_a_price_of_a_tier_is_alerted_and_by_its_own_app(harness: Harness, price_id: str) -> None:
    harness.stripe.add_price(harness.stripe.add_product("Support"), 900, price_id="price_support")
    customer_id = await customer(harness)
    await subscribes(harness, customer_id, price_id)
    await harness.catch_up()
    expected = {"price_123": "--app skai", "price_plus": "--app studio"}.get(price_id)
    found = await alerted(harness)
    assert set(found) == ({customer_id} if expected else set())
    assert expected is None or expected in found[customer_id]


async def test_the_alert_ends_with_the_subscription(harness: Harness) -> None:
    subscription_id = await subscribes(harness, await customer(harness))
    await harness.catch_up()
    assert len(await alerted(harness)) == 1
    harness.stripe.cancel(subscription_id)
    await harness.catch_up()
    assert await alerted(harness) == {}


async def test_a_customer_that_subscribes_later_is_alerted_at_once(harness: Harness) -> None:
    """Looked at a minute before, as a customer of some other product."""
    customer_id = await customer(harness)
    await harness.billing.stripe.transport.post(f"/v1/customers/{customer_id}", {"name": "Ada"})
    await harness.catch_up()
    assert await alerted(harness) == {}
    harness.move(60)
    await subscribes(harness, customer_id)
    await harness.catch_up()
    assert set(await alerted(harness)) == {customer_id}


async def test_an_outage_puts_the_question_off_and_loses_nothing(harness: Harness) -> None:
    customer_id = await customer(harness)
    await subscribes(harness, customer_id)
    harness.stripe.fault("status", "/v1/subscriptions", "GET", times=3, status=503)
    await harness.catch_up()
    assert await alerted(harness) == {}
    harness.move(120)
    await harness.settle()
    assert set(await alerted(harness)) == {customer_id}


async def test_the_daily_pass_counts_alerts_and_resolves(harness: Harness) -> None:
    first, second = await customer(harness), await customer(harness)
    await subscribes(harness, first)
    ended = await subscribes(harness, second, "price_plus")
    harness.events()  # lost
    dry = await reconcile(harness.billing, ReconcileOptions())
    shown = dry.shown()
    assert (shown["unadopted_payers"], await alerted(harness)) == (2, {})
    assert any(first in line and "skpay users adopt --app skai" in line for line in shown["unadopted"])  # type: ignore[union-attr]
    await reconcile(harness.billing, ReconcileOptions(apply=True))
    assert set(await alerted(harness)) == {first, second}
    harness.stripe.cancel(ended)
    harness.events()  # lost
    harness.move(3 * 3600)
    report = await reconcile(harness.billing, ReconcileOptions(apply=True))
    assert (report.shown()["unadopted_payers"], set(await alerted(harness))) == (1, {first})


async def test_a_pass_over_one_app_leaves_the_others_alone(harness: Harness) -> None:
    first, second = await customer(harness), await customer(harness)
    await subscribes(harness, first)
    await subscribes(harness, second, "price_plus")
    harness.events()
    report = await reconcile(harness.billing, ReconcileOptions(apply=True, app_id="studio"))
    assert (list(report.unadopted), set(await alerted(harness))) == ([second], {second})


async def test_the_daily_pass_takes_back_a_customer_that_we_signed(harness: Harness) -> None:
    """Ours by its signature: its row was lost, and it is adopted without an operator."""
    signed = {
        str(key): str(value)
        for key, value in signed_metadata(harness.billing.account.signing_keys, "skai", "u1").items()
    }
    customer_id = await customer(harness, metadata=signed)
    await subscribes(harness, customer_id)
    harness.events()
    await reconcile(harness.billing, ReconcileOptions(apply=True))
    await harness.settle()
    assert (await harness.tier("u1"), await alerted(harness)) == ("pro", {})


async def test_customers_of_other_products_are_looked_up_once_an_hour_each(harness: Harness) -> None:
    harness.stripe.add_price(harness.stripe.add_product("Support"), 900, price_id="price_support")
    found = [await customer(harness) for _ in range(12)]
    await asyncio.gather(*(subscribes(harness, each, "price_support") for each in found))
    harness.forget_requests()
    await harness.catch_up()
    assert len(harness.requests("GET", "/v1/customers/")) == 12
    # More than once where the customer and the subscription came in different batches of events.
    assert {request.params["customer"] for request in harness.requests("GET", "/v1/subscriptions")} == set(found)
    harness.forget_requests()
    for each in found:
        await harness.billing.stripe.transport.post(f"/v1/customers/{each}", {"name": "Ada"})
    await harness.catch_up()
    assert harness.requests("GET", "/v1/customers/") == harness.requests("GET", "/v1/subscriptions") == []
