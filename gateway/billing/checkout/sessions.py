"""Creates and expires checkout sessions, and finds out whether the last one was paid."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gateway.billing.work.refusals import CURRENCY_MISMATCH
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.catalog.model import App, Tier
from gateway.errors import UpstreamFailed
from gateway.store import inbox
from gateway.store.checkouts import Checkout
from gateway.store.inbox import Event
from gateway.stripe.checkout_sessions import CheckoutSession, NewCheckoutSession
from gateway.stripe.client import Stripe
from gateway.stripe.errors import InvalidRequest, StripeError, StripeNotFound
from gateway.stripe.event_content import event_content
from gateway.stripe.event_types import is_failed_payment
from gateway.stripe.idempotency import idempotency_key
from gateway.stripe.prices import ResolvedPrice
from gateway.tiers.model import Subscription

ARRIVES_WITHIN_SECONDS = 3600
"""A session can be paid until it expires; its subscription is listed at once, or after an outage of Stripe."""
DELAYED_SECONDS = 14 * 86_400
"""The slowest delayed payment methods take this long."""
_EVENTS_LOOKED_AT = 50


@dataclass(frozen=True, slots=True)
class Purchase:
    """What a user buys, and as which customer."""

    app: App
    user_id: str
    customer_id: str
    tier: Tier
    price: ResolvedPrice
    success_url: str


async def create_session(work: UnitOfWork, stripe: Stripe, purchase: Purchase, begun: Checkout) -> CheckoutSession:
    """A new session. Raises `UpstreamFailed`; with the code `currency_mismatch` where the customer has another one."""
    app, user_id, customer_id = purchase.app, purchase.user_id, purchase.customer_id
    new = NewCheckoutSession(
        app.app_id, user_id, customer_id, begun.price_id, success_url=purchase.success_url, cancel_url=app.cancel_url
    )
    # With customer and time: attempts restart at 1 after a restore, and for a forgotten user who returns.
    key_parts = ("checkout", app.app_id, user_id, customer_id, begun.price_id, begun.attempt, work.now())
    try:
        return await stripe.checkout_sessions.create(new, idempotency_key(*key_parts))
    except InvalidRequest as exc:
        await _raise_if_currency_differs(stripe, purchase, exc)
        raise


async def _raise_if_currency_differs(stripe: Stripe, purchase: Purchase, refused: InvalidRequest) -> None:
    """Stripe's refusal of a second currency has no code, so the currency is read from the customer."""
    has = (await stripe.customers.get(purchase.customer_id)).currency
    expected = purchase.price.currency
    if has is None or has == expected:
        return
    raise UpstreamFailed(
        f"You have paid in {has.upper()} before, and this price is in {expected.upper()}. You have not been charged.",
        code=CURRENCY_MISMATCH,
        retryable=False,
        status=refused.status,
        detail=(
            f"{purchase.customer_id} has the currency {has}, the price {purchase.price.price_id} of "
            f"{purchase.app.app_id}/{purchase.tier.tier_id} is in {expected}, and Stripe allows one currency for each "
            f"customer ({refused.detail}); give the tier a price in {has}, or, where the customer has no subscription "
            "any more, delete the customer in the Dashboard: the next checkout creates a new one"
        ),
    ) from refused


async def sessions_to_settle(stripe: Stripe, last: Checkout, customer_id: str) -> list[CheckoutSession]:
    """The session that was opened last, or, if its answer was lost, all open sessions of the customer."""
    if last.session_id is not None:
        try:
            return [await stripe.checkout_sessions.get(last.session_id)]
        except StripeNotFound:
            return []
    return await stripe.checkout_sessions.open_sessions(customer_id)


async def expire_of_deleted(stripe: Stripe, session: CheckoutSession) -> None:
    """Expire an open session of a deleted customer. It cannot be paid anyway, so a refusal is ignored."""
    if session.is_open:
        with suppress(StripeError):
            await stripe.checkout_sessions.expire(session.session_id)


async def just_paid(
    work: UnitOfWork,
    stripe: Stripe,
    app_id: str,
    user_id: str,
    session: CheckoutSession,
    subscriptions: Sequence[Subscription],
) -> bool:
    """Whether a session was completed while its subscription is not listed yet, or its delayed payment is pending.

    False if its subscription is listed: a running one was found before, so it has ended or belongs to no tier.
    An incomplete subscription waits for a delayed payment. False as well if that payment failed.
    """
    if not session.is_complete:
        return False
    listed = next((each for each in subscriptions if each.subscription_id == session.subscription_id), None)
    if listed is not None and (listed.status != "incomplete" or not session.is_unpaid):
        return False
    if not session.is_unpaid:
        return work.now() < session.expires_at + ARRIVES_WITHIN_SECONDS
    if work.now() >= (session.created_at or 0) + DELAYED_SECONDS:
        return False
    return not await _payment_failed(work, stripe, app_id, user_id, session)


async def _payment_failed(
    work: UnitOfWork, stripe: Stripe, app_id: str, user_id: str, session: CheckoutSession
) -> bool:
    """Whether an event reports that the delayed payment failed. The session itself does not show it."""

    def received(conn: Any) -> list[Event]:
        return inbox.recent(conn, _EVENTS_LOOKED_AT, app_id, user_id)

    session_id = session.session_id
    for event in await work.read(received):
        if not is_failed_payment(event.type):
            continue
        subject = event_content(event.body).subject  # None where the body was purged
        if subject is not None and subject.object_id == session_id:
            return True
    return await stripe.events.has_failed_payment(session_id, session.created_at)
