"""Checkout sessions at Stripe: create and expire them, and find out what became of the last one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gateway.billing.context import Billing
from gateway.billing.work.refusals import CURRENCY_MISMATCH
from gateway.catalog.model import App, Tier
from gateway.errors import UpstreamFailed
from gateway.store import inbox
from gateway.store.checkouts import Checkout
from gateway.store.inbox import Event
from gateway.stripe.errors import StripeError
from gateway.stripe.idempotency import idempotency_key
from gateway.stripe.prices import ResolvedPrice
from gateway.stripe.transport import StripeObject
from gateway.tiers.model import Subscription
from gateway.urls import api_path

ARRIVES_WITHIN_SECONDS = 3600
"""A session can be paid until it expires; the subscription is listed at once, or as soon as Stripe is well again."""
DELAYED_SECONDS = 14 * 86_400
"""The slowest delayed payment methods take this long."""
PAYMENT_FAILED = "checkout.session.async_payment_failed"
_EVENTS_LOOKED_AT = 50


@dataclass(frozen=True, slots=True)
class Purchase:
    """What a person wants to buy, and as which customer."""

    app: App
    user_id: str
    customer_id: str
    tier: Tier
    price: ResolvedPrice
    success_url: str


async def create_session(billing: Billing, purchase: Purchase, begun: Checkout) -> StripeObject:
    """A new session. Raises `UpstreamFailed`; with the code `currency_mismatch` where the customer has another one."""
    app, user_id, customer_id = purchase.app, purchase.user_id, purchase.customer_id
    # On customer, session and subscription: none of the three hands its metadata to the others.
    metadata = {"app_id": app.app_id, "user_id": user_id}
    params = {
        "mode": "subscription",
        "customer": customer_id,
        "client_reference_id": user_id,
        "line_items": [{"price": begun.price_id, "quantity": 1}],
        "success_url": purchase.success_url,
        "cancel_url": app.cancel_url,
        "metadata": metadata,
        "subscription_data": {"metadata": metadata},
    }
    # With customer and time: after a restore, or for somebody forgotten who comes back, attempts are counted anew.
    who = ("checkout", app.app_id, user_id, customer_id)
    key = idempotency_key(*who, begun.price_id, begun.attempt, billing.now())
    try:
        return await billing.stripe.transport.post("/v1/checkout/sessions", params, idempotency_key=key)
    except StripeError as exc:
        if exc.status == 400:
            await _raise_if_currency_differs(billing, purchase, exc)
        raise


async def _raise_if_currency_differs(billing: Billing, purchase: Purchase, refused: StripeError) -> None:
    """Stripe's refusal of a second currency has no code, so the customer is asked which one it has."""
    has = (await billing.stripe.customers.get(purchase.customer_id)).currency
    wanted = purchase.price.currency
    if has is None or has == wanted:
        return
    raise UpstreamFailed(
        f"You have paid in {has.upper()} before, and this price is in {wanted.upper()}. You have not been charged.",
        code=CURRENCY_MISMATCH,
        retryable=False,
        status=refused.status,
        detail=(
            f"{purchase.customer_id} has the currency {has}, the price {purchase.price.price_id} of "
            f"{purchase.app.app_id}/{purchase.tier.tier_id} is in {wanted}, and Stripe allows one currency for each "
            f"customer ({refused.detail}); give the tier a price in {has}, or, where the customer has no subscription "
            "any more, delete the customer in the Dashboard: the next checkout creates a new one"
        ),
    ) from refused


async def sessions_to_settle(billing: Billing, last: Checkout, customer_id: str) -> list[StripeObject]:
    """The session we opened last as Stripe has it, or, if its answer was lost, all that are open for the customer."""
    if last.session_id is not None:
        try:
            return [await billing.stripe.transport.get(api_path("v1/checkout/sessions", last.session_id))]
        except StripeError as exc:
            if exc.stripe_code != "resource_missing":
                raise
            return []
    query = {"customer": customer_id, "status": "open"}
    return [session async for session in billing.stripe.transport.list_all("/v1/checkout/sessions", query)]


async def expire(billing: Billing, session_id: str) -> bool:
    """Take an open session from the person; False if they completed it in this very moment."""
    try:
        await billing.stripe.transport.post(api_path("v1/checkout/sessions", session_id, "expire"), {})
    except StripeError as exc:
        if exc.status != 400:
            raise
        session = await billing.stripe.transport.get(api_path("v1/checkout/sessions", session_id))
        if session.get("status") == "open":  # refused for another reason: a second one beside it must not be opened
            raise
        return session.get("status") != "complete"
    return True


async def expire_of_deleted(billing: Billing, session: StripeObject) -> None:
    """Expire an open session of a deleted customer. Stripe refuses its payment anyway, so its refusal is no failure."""
    if session.get("status") == "open":
        with suppress(StripeError):
            await expire(billing, str(session["id"]))


async def just_paid(
    billing: Billing, app_id: str, user_id: str, session: StripeObject, subscriptions: Sequence[Subscription]
) -> bool:
    """Whether a session was completed whose subscription is still on its way to us, or whose payment is.

    False for one whose subscription is listed: it is over, or it has to do with no tier; one that runs was found
    before. One that is incomplete waits for a delayed payment. False as well where that failed.
    """
    if session.get("status") != "complete":
        return False
    listed = next((each for each in subscriptions if each.subscription_id == _id(session.get("subscription"))), None)
    if listed is not None and (listed.status != "incomplete" or session.get("payment_status") != "unpaid"):
        return False
    if session.get("payment_status") != "unpaid":
        return billing.now() < int(session.get("expires_at") or 0) + ARRIVES_WITHIN_SECONDS
    if billing.now() >= int(session.get("created") or 0) + DELAYED_SECONDS:
        return False
    return not await _payment_failed(billing, app_id, user_id, session)


async def _payment_failed(billing: Billing, app_id: str, user_id: str, session: StripeObject) -> bool:
    """Whether Stripe has said that the delayed payment failed. The session itself does not show it."""

    def received(conn: Any) -> list[Event]:
        return inbox.recent(conn, _EVENTS_LOOKED_AT, app_id, user_id)

    session_id = session.get("id")
    for event in await billing.store.read(received):
        if event.type.removeprefix("v1.") == PAYMENT_FAILED and _subject(event.body) == session_id:
            return True
    query = {"type": PAYMENT_FAILED, "created": {"gte": session.get("created")}}
    async for listed in billing.stripe.transport.list_all("/v1/events", query):
        data = listed.get("data")
        subject = data.get("object") if isinstance(data, dict) else None
        if isinstance(subject, dict) and subject.get("id") == session_id:
            return True
    return False


def _subject(body: bytes) -> str | None:
    """The id of the object that a recorded event is about; None where the body was purged."""
    try:
        event = json.loads(body)
    except ValueError:
        return None
    data, related = event.get("data"), event.get("related_object")
    return _id(data.get("object") if isinstance(data, dict) else related)


def _id(value: Any) -> str | None:
    """The id of a reference, whether expanded or not."""
    found = value.get("id") if isinstance(value, dict) else value
    return found if isinstance(found, str) else None
