"""Selling a tier: one open checkout session per (app, user), and the portal for whoever has a subscription already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from sqlalchemy import Connection

from gateway.billing.context import Billing, check_user_id, tier_of
from gateway.billing.customer import ensure_customer, idempotency_key
from gateway.billing.holdings import Holdings, fetch_holdings
from gateway.billing.portal import change_to, open_portal
from gateway.billing.prices import choose, resolve, resolve_prices
from gateway.catalog.model import App, Tier
from gateway.store import checkouts, customers, last_good, refreshes
from gateway.store.checkouts import Checkout
from gateway.stripe.client import StripeError, StripeObject
from gateway.tiers.claims import counts
from gateway.tiers.model import Subscription
from gateway.urls import api_path

REUSE_AT_LEAST_SECONDS = 300
"""A session with less time left than this is replaced: nobody should lose their form while filling it in."""


@dataclass(frozen=True, slots=True)
class CheckoutLink:
    """Where to send the person: a checkout page, or the portal (`kind`) if they have a subscription already."""

    url: str
    kind: Literal["checkout", "portal"]


async def open_checkout(
    billing: Billing, app_id: str, user_id: str, email: str | None, tier_id: str, interval: str | None
) -> CheckoutLink:
    """A link to buy `tier_id`. Asking again for the same returns the same session; for another, the old one is expired.

    Raises `NotFound` (app, tier), `InvalidInput` (not for sale, interval), `Conflict` (no such price at Stripe),
    `UpstreamFailed`, `StoreUnavailable`.
    """
    app = billing.app(app_id)
    check_user_id(user_id)
    tier = tier_of(app, tier_id)
    price = await choose(billing, app, tier, interval)
    async with billing.lock(app_id, user_id):
        resolved = await resolve(billing, app, tier, price)
        known = await billing.store.read(lambda conn: customers.of_user(conn, app_id, user_id))
        holdings = await fetch_holdings(billing, known)
        held = holdings.subscriptions
        running = await _running(billing, app, user_id, holdings)
        if running is not None:
            change, owner = change_to(running, resolved.price_id), running.customer_id
            return CheckoutLink(await open_portal(billing, app, user_id, change=change, customer_id=owner), "portal")
        customer_id = await ensure_customer(billing, app_id, user_id, email)
        link = await _open_session(billing, app, user_id, customer_id, tier, resolved.price_id, held)
        if link is not None:
            return link
        # Paid a moment ago: the subscription is on its way to us.
        return CheckoutLink(await open_portal(billing, app, user_id, customer_id=customer_id), "portal")


async def _running(billing: Billing, app: App, user_id: str, holdings: Holdings) -> Subscription | None:
    """The newest subscription to a tier that is not over. One whose first payment never came does not count."""
    live = [each for each in holdings.subscriptions if not each.over and each.status != "incomplete"]
    if not live:
        return None
    if not billing.prices_resolved:  # or a subscription to a tier could look like one to something else
        await resolve_prices(billing)
    good = await billing.store.read(lambda conn: last_good.of_user(conn, app.app_id, user_id))
    known, invoices = billing.known_tiers(app.app_id), holdings.invoices
    counted = (each for each in live if counts(app, each, invoices, known, good.get(each.subscription_id)))
    return next(counted, None)


async def _open_session(
    billing: Billing,
    app: App,
    user_id: str,
    customer_id: str,
    tier: Tier,
    price_id: str,
    held: Sequence[Subscription],
) -> CheckoutLink | None:
    """A checkout session for this price; None when an earlier one has just been paid."""
    last = await billing.store.read(lambda conn: checkouts.get(conn, app.app_id, user_id))
    over = {each.subscription_id for each in held if each.over}
    for session in await _sessions_to_settle(billing, last, customer_id) if last is not None else ():
        # One that was paid for a subscription which has ended since is history.
        paid = session.get("status") == "complete" and session.get("subscription") not in over
        is_open = session.get("status") == "open"
        if is_open and last is not None and _serves(session, last, tier, price_id, billing.now()):
            return CheckoutLink(str(session["url"]), "checkout")
        if paid or (is_open and not await _expire(billing, str(session["id"]))):
            await _want_refresh(billing, app.app_id, user_id)
            return None
    return await _begin(billing, app, user_id, customer_id, tier, price_id)


async def _begin(billing: Billing, app: App, user_id: str, customer_id: str, tier: Tier, price_id: str) -> CheckoutLink:
    """A new session, recorded before and after Stripe makes it, so that a lost answer leaves a trace."""
    now = billing.now()
    begun = await billing.store.write(
        lambda conn: checkouts.begin(conn, app.app_id, user_id, tier.tier_id, price_id, now)
    )
    session = await _create(billing, app, user_id, customer_id, begun)
    session_id, url, expires_at = str(session["id"]), str(session["url"]), int(session["expires_at"])

    def record(conn: Connection) -> None:
        checkouts.opened(conn, app.app_id, user_id, begun.attempt, session_id, url, expires_at)

    await billing.store.write(record)
    return CheckoutLink(url, "checkout")


async def _sessions_to_settle(billing: Billing, last: Checkout, customer_id: str) -> list[StripeObject]:
    """The session we opened last as Stripe has it, or, if its answer was lost, all that are open for the customer."""
    if last.session_id is not None:
        try:
            return [await billing.stripe.get(api_path("v1/checkout/sessions", last.session_id))]
        except StripeError as exc:
            if exc.stripe_code != "resource_missing":
                raise
            return []
    query = {"customer": customer_id, "status": "open"}
    return [session async for session in billing.stripe.each("/v1/checkout/sessions", query)]


def _serves(session: StripeObject, last: Checkout, tier: Tier, price_id: str, now: int) -> bool:
    same = last.session_id == session.get("id") and (last.tier, last.price_id) == (tier.tier_id, price_id)
    return same and int(session.get("expires_at") or 0) - now >= REUSE_AT_LEAST_SECONDS


async def _expire(billing: Billing, session_id: str) -> bool:
    """Take an open session from the person; False if they completed it in this very moment."""
    try:
        await billing.stripe.post(api_path("v1/checkout/sessions", session_id, "expire"), {})
    except StripeError as exc:
        if exc.status != 400:
            raise
        session = await billing.stripe.get(api_path("v1/checkout/sessions", session_id))
        if session.get("status") == "open":  # refused for another reason: a second one beside it must not be opened
            raise
        return session.get("status") != "complete"
    return True


async def _create(billing: Billing, app: App, user_id: str, customer_id: str, begun: Checkout) -> StripeObject:
    # On customer, session and subscription: none of the three hands its metadata to the others.
    metadata = {"app_id": app.app_id, "user_id": user_id}
    params = {
        "mode": "subscription",
        "customer": customer_id,
        "client_reference_id": user_id,
        "line_items": [{"price": begun.price_id, "quantity": 1}],
        "success_url": app.success_url,
        "cancel_url": app.cancel_url,
        "metadata": metadata,
        "subscription_data": {"metadata": metadata},
    }
    # With customer and time: after a restore, or for somebody forgotten who comes back, attempts are counted anew.
    who = ("checkout", app.app_id, user_id, customer_id)
    key = idempotency_key(*who, begun.price_id, begun.attempt, billing.now())
    return await billing.stripe.post("/v1/checkout/sessions", params, idempotency_key=key)


async def expire_withdrawn(billing: Billing) -> int:
    """Take back every open session for what an edit took from sale, so that nobody pays for it any more; how many.

    Call it once the prices are resolved. A session that was paid in this very moment is a purchase like any other.
    """
    taken = 0
    for checkout in await billing.store.read(lambda conn: checkouts.live(conn, billing.now())):
        if checkout.session_id is None or _on_sale(billing, checkout):
            continue
        async with billing.lock(checkout.app_id, checkout.user_id):
            if await _expire(billing, checkout.session_id):
                await billing.store.write(partial(checkouts.clear, app_id=checkout.app_id, user_id=checkout.user_id))
                taken += 1
            else:
                await _want_refresh(billing, checkout.app_id, checkout.user_id)
    return taken


def _on_sale(billing: Billing, checkout: Checkout) -> bool:
    app = billing.catalog.app(checkout.app_id)
    tier = app.tier(checkout.tier) if app is not None else None
    if tier is None or not tier.for_sale:
        return False
    offered = [billing.resolved_prices.get(price) for price in tier.prices]
    return None in offered or any(each is not None and each.price_id == checkout.price_id for each in offered)


async def _want_refresh(billing: Billing, app_id: str, user_id: str) -> None:
    await billing.store.write(lambda conn: refreshes.want(conn, app_id, user_id, billing.now()))
    billing.refresh_wanted.set()
