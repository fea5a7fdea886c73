"""The official library talks to the sandbox as it talks to Stripe."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import pytest
import stripe
from stripe_stage import KEY, Box

Answer = TypeVar("Answer")


class Sdk:
    """The library is synchronous: each call runs in a thread beside the sandbox's loop."""

    def __init__(self, box: Box, key: str = KEY) -> None:
        self.client = stripe.StripeClient(key, base_addresses={"api": box.url})

    async def __call__(self, call: Callable[[stripe.StripeClient], Answer]) -> Answer:
        return await asyncio.to_thread(call, self.client)


@pytest.fixture
def sdk(box: Box) -> Sdk:
    return Sdk(box)


async def test_from_customer_to_portal(box: Box, sdk: Sdk) -> None:
    customer = await sdk(
        lambda c: c.v1.customers.create(
            {"email": "ada@example.com", "metadata": {"user_id": "u1"}}, {"idempotency_key": "cus:1"}
        )
    )
    prices = await sdk(lambda c: c.v1.prices.list({"lookup_keys": ["pro_month"], "expand": ["data.product"]}))
    (price,) = prices.data
    assert (price.id, price.unit_amount) == ("price_pro", 2000)
    session = await sdk(
        lambda c: c.v1.checkout.sessions.create(
            {
                "mode": "subscription",
                "customer": customer.id,
                "line_items": [{"price": price.id, "quantity": 1}],
                "success_url": "http://app.test/ok",
                "cancel_url": "http://app.test/no",
                "subscription_data": {"metadata": {"user_id": "u1"}},
            }
        )
    )
    assert session.url is not None
    assert (await box.click(session.url, action="pay"))[0] == 303
    subscriptions = await sdk(lambda c: c.v1.subscriptions.list({"customer": customer.id, "status": "all"}))
    (subscription,) = subscriptions.data
    assert (subscription.status, subscription.metadata["user_id"]) == ("active", "u1")
    item = subscription["items"].data[0]
    changed = await sdk(
        lambda c: c.v1.subscriptions.update(
            subscription.id,
            {
                "items": [{"id": item.id, "price": "price_123"}],
                "proration_behavior": "always_invoice",
                "metadata": {"seen": "yes"},
            },
        )
    )
    assert changed["items"].data[0].price.id == "price_123"
    assert changed.metadata.to_dict() == {"user_id": "u1", "seen": "yes"}
    invoices = await sdk(lambda c: c.v1.invoices.list({"customer": customer.id, "status": "paid"}))
    assert [invoice.billing_reason for invoice in invoices.data] == ["subscription_update", "subscription_create"]
    portal = await sdk(
        lambda c: c.v1.billing_portal.sessions.create({"customer": customer.id, "return_url": "http://app.test/"})
    )
    assert (await box.page(portal.url))[0] == 200
    gone = await sdk(lambda c: c.v1.subscriptions.cancel(subscription.id))
    assert gone.status == "canceled"
    events = await sdk(lambda c: c.v1.events.list({"limit": 1}))
    assert events.data[0].type == "customer.subscription.deleted"
    deleted = await sdk(lambda c: c.v1.customers.delete(customer.id))
    assert deleted.deleted is True


async def test_auto_paging_walks_everything(box: Box, sdk: Sdk) -> None:
    made = [(await box.customer(email=f"u{n}@b.c"))["id"] for n in range(23)]
    walked = await sdk(lambda c: [each.id for each in c.v1.customers.list({"limit": 5}).auto_paging_iter()])
    assert walked == made[::-1]
    events = await sdk(lambda c: [each.id for each in c.v1.events.list({"limit": 4}).auto_paging_iter()])
    assert len(events) == len(set(events)) == len(box.event_types())


async def test_a_wrong_key_is_an_authentication_error(box: Box) -> None:
    with pytest.raises(stripe.AuthenticationError, match=r"Invalid API Key provided: sk_test_\*\*\*\*ess!"):
        await Sdk(box, "sk_test_guess!")(lambda c: c.v1.customers.list())


async def test_wrong_requests_are_invalid_request_errors(sdk: Sdk) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="No such customer: 'cus_x'") as caught:
        await sdk(lambda c: c.v1.customers.retrieve("cus_x"))
    assert (caught.value.http_status, caught.value.code, caught.value.request_id is not None) == (
        404,
        "resource_missing",
        True,
    )
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await sdk(lambda c: c.v1.customers.create({"nmae": "Ada"}))  # type: ignore[typeddict-unknown-key]  # on purpose
    assert (caught.value.code, caught.value.param) == ("parameter_unknown", "nmae")


async def test_a_key_used_for_something_else_is_an_idempotency_error(sdk: Sdk) -> None:
    await sdk(lambda c: c.v1.customers.create({"email": "a@b.c"}, {"idempotency_key": "k"}))
    with pytest.raises(stripe.IdempotencyError):
        await sdk(lambda c: c.v1.customers.create({"email": "x@y.z"}, {"idempotency_key": "k"}))


async def test_a_declined_card_is_a_card_error(box: Box, sdk: Sdk) -> None:
    customer = await box.customer()
    box.sandbox.set_card(customer["id"], "fail")
    with pytest.raises(stripe.CardError) as caught:
        await sdk(
            lambda c: c.v1.subscriptions.create(
                {
                    "customer": customer["id"],
                    "items": [{"price": "price_pro"}],
                    "payment_behavior": "error_if_incomplete",
                }
            )
        )
    assert (caught.value.code, caught.value.http_status) == ("card_declined", 402)


async def test_a_rate_limit_is_a_rate_limit_error(box: Box, sdk: Sdk) -> None:
    box.sandbox.fault("status", status=429, should_retry=False)
    with pytest.raises(stripe.RateLimitError):
        await sdk(lambda c: c.v1.prices.list())


async def test_the_library_retries_under_one_idempotency_key(box: Box) -> None:
    client = stripe.StripeClient(KEY, base_addresses={"api": box.url}, max_network_retries=2)
    box.sandbox.fault("status", "/v1/customers", status=409)
    box.sandbox.fault("lost_reply", "/v1/customers")
    customer = await asyncio.to_thread(lambda: client.v1.customers.create({"email": "a@b.c"}))
    tries = list(box.sandbox.api.log)
    assert [(before.status, before.replayed) for before in tries] == [(409, False), (200, False), (200, True)]
    assert len({before.idempotency_key for before in tries}) == 1
    assert [each["id"] for each in box.sandbox.snapshot()["customer"]] == [customer.id]


async def test_a_webhook_endpoint_and_a_portal_configuration_by_the_library(box: Box, sdk: Sdk) -> None:
    endpoint = await sdk(
        lambda c: c.v1.webhook_endpoints.create(
            {"url": box.receiver.url, "enabled_events": ["invoice.paid"], "api_version": "2026-10-28.endive"}
        )
    )
    assert endpoint.secret is not None
    assert endpoint.secret.startswith("whsec_")
    configuration = await sdk(
        lambda c: c.v1.billing_portal.configurations.create(
            {
                "features": {
                    "subscription_update": {
                        "enabled": True,
                        "default_allowed_updates": ["price"],
                        "products": [{"product": "prod_pro", "prices": ["price_pro", "price_pro_year"]}],
                    }
                }
            }
        )
    )
    assert configuration.features.subscription_update.enabled is True
    account = await sdk(lambda c: c.v1.accounts.retrieve_current())
    assert account.id == box.sandbox.account_id
