"""Ask Stripe what one user has now, decide, and commit it: the only writer of entitlements.

The lease was taken and committed before any fetch and is checked again at the write, so two refreshes of one user can
never be written in the wrong order.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from gateway.billing.alerting import log_opened, open_alert, resolve_alert
from gateway.billing.backoff import backoff_seconds
from gateway.billing.context import Billing
from gateway.catalog.model import App
from gateway.errors import SkpayError, StoreUnavailable, UpstreamFailed
from gateway.log import fields
from gateway.store import alerts, customers, entitlements, grants, outbox, prices, refreshes
from gateway.store.customers import Customer
from gateway.store.entitlements import Change, Stored
from gateway.store.refreshes import Lease
from gateway.tiers import shapes
from gateway.tiers.decide import decide
from gateway.tiers.model import Entitlement, Grant, Invoice, Subscription

log = logging.getLogger(__name__)

LEASE_SECONDS = 60
FETCH_SECONDS = 45
FAILURES_UNTIL_ALERT = 5
MAX_TIMER_SECONDS = 30 * 86_400
ASK_BEFORE_SECONDS = 5
"""A payer whom the clock alone would cut off is looked up at Stripe again this long before."""


class LeaseLostError(Exception):
    """Somebody else refreshes this user now; what we fetched may be older than what they will write."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """What Stripe holds of one user now."""

    subscriptions: tuple[Subscription, ...] = ()
    invoices: tuple[Invoice, ...] = ()


async def refresh(billing: Billing, lease: Lease, owner: str) -> None:
    """Bring one user's entitlement up to date, or leave it as it is and try again later.

    A payer is never cut off because Stripe cannot be asked: the last good tier stays until an answer comes.
    """
    try:
        async with asyncio.timeout(FETCH_SECONDS):
            change = await _refresh(billing, lease, owner)
    except LeaseLostError:
        log.warning("refresh_lease_lost", extra=fields(app_id=lease.app_id, user_id=lease.user_id))
        return
    except StoreUnavailable:
        raise
    except Exception as exc:  # a bug too: this user waits, the others go on
        await _put_off(billing, lease, owner, exc)
        return
    if lease.attempts >= FAILURES_UNTIL_ALERT:
        await resolve_alert(billing, "refresh_failing", f"{lease.app_id}/{lease.user_id}")
    if change is not None:
        log.info(
            "tier_changed",
            extra=fields(
                app_id=lease.app_id,
                user_id=lease.user_id,
                reason=change.reason,
                **{"from": change.from_tier, "to": change.to_tier},
            ),
        )


async def _refresh(billing: Billing, lease: Lease, owner: str) -> Change | None:
    app = billing.app(lease.app_id)
    known_customers = await billing.store.read(lambda conn: customers.of_user(conn, lease.app_id, lease.user_id))
    holdings = await fetch_holdings(billing, known_customers)
    given, stored = await billing.store.read(lambda conn: _given_and_stored(conn, lease, billing.now()))
    learned = _learned_prices(app, billing.known_prices.get(app.app_id, {}), holdings.subscriptions)
    known_prices = {**billing.known_prices.get(app.app_id, {}), **{price: tier for price, tier, _ in learned}}
    decided = decide(
        app,
        holdings.subscriptions,
        holdings.invoices,
        given,
        known_prices,
        stored.entitlement if stored else None,
        billing.now(),
    )

    def commit(conn: Connection) -> Change | None:
        now = billing.now()
        if not refreshes.finish(conn, lease, owner, now, _timer_at(decided, now)):
            raise LeaseLostError
        for price_id, tier_id, lookup_key in learned:
            prices.remember(conn, price_id, app.app_id, tier_id, lookup_key, now)
        for concern in decided.concerns:
            if alerts.open_(conn, concern.kind, concern.subject, concern.message, now):
                log_opened(concern.kind, concern.subject, concern.message)
        change = entitlements.save(conn, lease.app_id, lease.user_id, decided, now)
        if app.litellm is not None and (change is not None or stored is None):
            outbox.put(conn, "litellm", lease.app_id, lease.user_id, {}, now)
        return change

    change = await billing.store.write(commit)
    if learned:
        billing.known_prices = {**billing.known_prices, app.app_id: known_prices}
    billing.tell_gate(lease.app_id, lease.user_id, decided.tier)
    billing.wish_made.set()
    return change


def _given_and_stored(conn: Connection, lease: Lease, now: int) -> tuple[list[Grant], Stored | None]:
    return (
        grants.live(conn, lease.app_id, lease.user_id, now),
        entitlements.get(conn, lease.app_id, lease.user_id),
    )


async def fetch_holdings(billing: Billing, known_customers: Sequence[Customer]) -> Holdings:
    """Every subscription of these customers, and the invoices that grace is counted from. Raises `UpstreamFailed`."""
    subscriptions: list[Subscription] = []
    invoices: list[Invoice] = []
    for customer in known_customers:
        query = {"customer": customer.customer_id, "status": "all"}
        async for raw in billing.stripe.each("/v1/subscriptions", query):
            subscriptions.append(shapes.subscription(raw))
    for subscription in subscriptions:
        if subscription.status == "past_due":
            async for raw in billing.stripe.each("/v1/invoices", {"subscription": subscription.subscription_id}):
                invoices.append(shapes.invoice(raw))
    return Holdings(tuple(subscriptions), tuple(invoices))


def _learned_prices(
    app: App, known: Mapping[str, str], subscriptions: Sequence[Subscription]
) -> list[tuple[str, str, str | None]]:
    """Prices of these subscriptions that are a tier's by lookup key or id and were not stored yet.

    Stored because a lookup key can move to another price, and who pays the old price keeps the tier.
    """
    by_lookup_key = {price.lookup_key: tier.tier_id for tier in app.tiers for price in tier.prices if price.lookup_key}
    by_id = {price.price_id: tier.tier_id for tier in app.tiers for price in tier.prices if price.price_id}
    found: dict[str, tuple[str, str, str | None]] = {}
    for item in (item for subscription in subscriptions for item in subscription.items):
        tier_id = by_id.get(item.price_id) or by_lookup_key.get(item.lookup_key or "")
        if tier_id and item.price_id not in known:
            found[item.price_id] = (item.price_id, tier_id, item.lookup_key)
    return list(found.values())


def _timer_at(decided: Entitlement, now: int) -> int | None:
    """When to look again although no event came: just before the clock alone would change the tier."""
    if decided.until is None:
        return None
    soon = decided.until - ASK_BEFORE_SECONDS
    # Inside the last seconds: look again right after the instant itself.
    at = soon if soon > now else decided.until + 1
    return min(at, now + MAX_TIMER_SECONDS)


async def _put_off(billing: Billing, lease: Lease, owner: str, exc: Exception) -> None:
    attempts = lease.attempts + 1
    expected = isinstance(exc, SkpayError | TimeoutError)
    detail = exc.detail or exc.message if isinstance(exc, SkpayError) else type(exc).__name__
    retry_at = billing.now() + backoff_seconds(attempts)
    log.warning(
        "refresh_put_off",
        extra=fields(app_id=lease.app_id, user_id=lease.user_id, attempts=attempts, detail=detail),
        exc_info=None if expected else exc,
    )
    await billing.store.write(lambda conn: refreshes.fail(conn, lease, owner, retry_at, detail))
    refused = isinstance(exc, UpstreamFailed) and not exc.retryable
    if refused or attempts >= FAILURES_UNTIL_ALERT:
        message = f"cannot be refreshed from Stripe, keeps the last tier: {detail}"
        await open_alert(billing, "refresh_failing", f"{lease.app_id}/{lease.user_id}", message)
