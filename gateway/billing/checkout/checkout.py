"""Checkout: one open session per (app, user), and the portal for users who already have a subscription."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from sqlalchemy import Connection

from gateway.billing.checkout.customer import ensure_customer
from gateway.billing.checkout.portal import change_to, portal_url
from gateway.billing.checkout.price_choice import PriceChoice, check_unchanged, choose
from gateway.billing.checkout.prices import resolve, resolve_prices
from gateway.billing.checkout.sessions import (
    Purchase,
    create_session,
    expire_of_deleted,
    just_paid,
    sessions_to_settle,
)
from gateway.billing.context import Billing
from gateway.billing.installed_apps import InstalledApps, tier_of
from gateway.billing.price_book import PriceBook
from gateway.billing.refresh.holdings import Holdings, fetch_holdings
from gateway.billing.work.refusals import alert_refusals, alert_refusals_to_buyer
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.catalog.model import App, Tier
from gateway.errors import Conflict, UpstreamFailed
from gateway.store import checkouts, customers, last_good
from gateway.store.checkouts import Checkout
from gateway.stripe.checkout_sessions import CheckoutSession
from gateway.stripe.client import Stripe
from gateway.stripe.errors import StripeNotFound
from gateway.tiers.candidates import is_tier_subscription
from gateway.tiers.model import Subscription
from gateway.user_ids import check_user_id

REUSE_AT_LEAST_SECONDS = 300
"""A session that expires sooner is replaced, so that it does not expire while the buyer fills in the form."""


@dataclass(frozen=True, slots=True)
class CheckoutLink:
    """Where to send the buyer: a checkout page, or the portal (`kind`) if they already have a subscription."""

    url: str
    kind: Literal["checkout", "portal"]


async def open_checkout(
    billing: Billing,
    app_id: str,
    user_id: str,
    email: str | None,
    tier_id: str,
    choice: PriceChoice,
    *,
    success_url: str | None = None,
) -> CheckoutLink:
    """A link to buy `tier_id`. Repeating the call returns the same session; another tier or price expires the old one.

    `success_url` is where Stripe redirects after the payment; None: the one in apps.json.

    Raises `NotFound` (app, tier), `InvalidInput` (not for sale, no or several such prices), `Conflict` (not at Stripe),
    `UpstreamFailed`, `StoreUnavailable`.
    """
    app = billing.apps.app(app_id)
    check_user_id(user_id)
    tier = tier_of(app, tier_id)
    async with alert_refusals_to_buyer(billing.work, "checkout_refused", f"{app_id}/{user_id}"):
        return await _checkout(billing, app, user_id, email, tier, choice, success_url or app.success_url)


async def _checkout(
    billing: Billing, app: App, user_id: str, email: str | None, tier: Tier, choice: PriceChoice, success_url: str
) -> CheckoutLink:
    app_id = app.app_id
    price = await choose(billing, app, tier, choice)
    async with billing.locks.of(app_id, user_id):
        resolved = await resolve(billing, app, tier, price)
        check_unchanged(tier, choice, resolved)
        known = await billing.work.read(lambda conn: customers.of_user(conn, app_id, user_id))
        holdings = await fetch_holdings(billing, known)
        running = await running_subscription(billing, app, user_id, holdings)
        if running is not None:
            change, owner = change_to(running, resolved.price_id), running.customer_id
            url = await portal_url(billing, app, user_id, change=change, customer_id=owner, success_url=success_url)
            return CheckoutLink(url, "portal")
        customer_id = await ensure_customer(billing, app_id, user_id, email)
        link = await _open_session(
            billing.work,
            billing.stripe,
            Purchase(app, user_id, customer_id, tier, resolved, success_url),
            holdings.subscriptions,
        )
        if link is not None:
            return link
        # Paid a moment ago: Stripe does not list the subscription yet.
        return CheckoutLink(await portal_url(billing, app, user_id, customer_id=customer_id), "portal")


async def running_subscription(billing: Billing, app: App, user_id: str, holdings: Holdings) -> Subscription | None:
    """The newest subscription to a tier that has not ended. One without its first payment does not count."""
    live = [each for each in holdings.subscriptions if not each.has_ended and each.status != "incomplete"]
    if not live:
        return None
    if not billing.prices.complete:  # or a subscription to a tier would not be recognised
        await resolve_prices(billing)
    good = await billing.work.read(lambda conn: last_good.of_user(conn, app.app_id, user_id))
    known, invoices = billing.prices.known_tiers(app.app_id), holdings.invoices
    counted = (
        each for each in live if is_tier_subscription(app, each, invoices, known, good.get(each.subscription_id))
    )
    return next(counted, None)


async def _open_session(
    work: UnitOfWork, stripe: Stripe, purchase: Purchase, subscriptions: Sequence[Subscription]
) -> CheckoutLink | None:
    """A checkout session for this purchase; None when an earlier one has just been paid."""
    app_id, user_id, customer_id = purchase.app.app_id, purchase.user_id, purchase.customer_id
    last = await work.read(lambda conn: checkouts.get(conn, app_id, user_id))
    living = {each.customer_id for each in await work.read(lambda conn: customers.of_user(conn, app_id, user_id))}
    for session in await sessions_to_settle(stripe, last, customer_id) if last is not None else ():
        if session.customer_id not in living:  # a deleted customer cannot pay
            await expire_of_deleted(stripe, session)
            continue
        if session.is_open and last is not None and _is_reusable(session, last, purchase, work.now()):
            return CheckoutLink(session.url, "checkout")
        if session.is_open:
            paid = not await stripe.checkout_sessions.expire(session.session_id)
        else:
            paid = await just_paid(work, stripe, app_id, user_id, session, subscriptions)
        if paid:
            await work.write(lambda tx: tx.want_refresh(app_id, user_id))
            return None
    return await _begin(work, stripe, purchase)


async def _begin(work: UnitOfWork, stripe: Stripe, purchase: Purchase) -> CheckoutLink:
    """A new session, recorded before and after Stripe creates it, so that a lost answer can be recovered."""
    now, app_id, user_id = work.now(), purchase.app.app_id, purchase.user_id
    begun = await work.store.write(
        lambda conn: checkouts.begin(conn, app_id, user_id, purchase.tier.tier_id, purchase.price.price_id, now)
    )
    session = await create_session(work, stripe, purchase, begun)

    def record(conn: Connection) -> None:
        checkouts.opened(conn, app_id, user_id, begun.attempt, session.session_id, session.url, session.expires_at)

    await work.store.write(record)
    return CheckoutLink(session.url, "checkout")


def _is_reusable(session: CheckoutSession, last: Checkout, purchase: Purchase, now: int) -> bool:
    """Whether the open session is one for the very same purchase, with enough time left."""
    same = last.session_id == session.session_id and session.customer_id == purchase.customer_id
    expected = (purchase.tier.tier_id, purchase.price.price_id, purchase.success_url)
    left = session.expires_at - now
    return same and (last.tier, last.price_id, session.success_url) == expected and left >= REUSE_AT_LEAST_SECONDS


async def withdraw(work: UnitOfWork, stripe: Stripe, app_id: str, user_id: str) -> None:
    """Expire the open session of this user, if there is one.

    Call it under the user's lock. Raises `Conflict` if it is being paid in this moment, `UpstreamFailed`.
    """
    last = await work.read(lambda conn: checkouts.get(conn, app_id, user_id))
    if last is None:
        return
    known = await work.read(lambda conn: customers.of_user(conn, app_id, user_id))
    living = [each.customer_id for each in known]
    # If the answer that had its id was lost, the session is searched for at each customer.
    for customer_id in living if last.session_id is None else [""]:
        for session in await sessions_to_settle(stripe, last, customer_id):
            if session.customer_id not in living:
                await expire_of_deleted(stripe, session)
            elif session.is_open and not await stripe.checkout_sessions.expire(session.session_id):
                raise Conflict(f"{user_id[:80]!r} has just paid; retry in a minute.", code="purchase_under_way")
    await work.store.write(partial(checkouts.clear, app_id=app_id, user_id=user_id))


async def expire_withdrawn(billing: Billing) -> int:
    """Expire every open session for a price that apps.json no longer sells; returns how many.

    Call it once the prices are resolved. A session that is paid in this moment counts as a purchase. A refusal to
    expire one is alerted and does not stop the others. Raises `UpstreamFailed` for transient failures.
    """
    expired = 0
    for checkout in await billing.work.read(lambda conn: checkouts.live(conn, billing.work.now())):
        if checkout.session_id is None or _on_sale(billing.apps, billing.prices, checkout):
            continue
        try:
            async with alert_refusals(billing.work, "checkout_refused", f"{checkout.app_id}/{checkout.user_id}"):
                expired += await _expire_one(billing, checkout, checkout.session_id)
        except UpstreamFailed as exc:
            if exc.retryable:
                raise
    return expired


async def _expire_one(billing: Billing, checkout: Checkout, session_id: str) -> bool:
    """False if it was paid in this moment."""
    app_id, user_id = checkout.app_id, checkout.user_id
    async with billing.locks.of(app_id, user_id):
        try:
            unpaid = await billing.stripe.checkout_sessions.expire(session_id)
        except StripeNotFound:
            unpaid = True  # Stripe no longer has it: it cannot be paid
        if unpaid:
            await billing.work.store.write(partial(checkouts.clear, app_id=app_id, user_id=user_id))
        else:
            await billing.work.write(lambda tx: tx.want_refresh(app_id, user_id))
        return unpaid


def _on_sale(apps: InstalledApps, prices: PriceBook, checkout: Checkout) -> bool:
    app = apps.catalog.app(checkout.app_id)
    tier = app.tier(checkout.tier) if app is not None else None
    if tier is None or not tier.for_sale:
        return False
    offered = [prices.resolved.get(price) for price in tier.prices if price not in prices.missing]
    return None in offered or any(each is not None and each.price_id == checkout.price_id for each in offered)
