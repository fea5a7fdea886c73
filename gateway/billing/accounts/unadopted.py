"""Customers at Stripe that pay for a tier and belong to no user of ours, such as buyers by a Payment Link.

They are alerted and never adopted automatically: `client_reference_id` and the e-mail address come from the buyer's
browser and prove no identity.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection

from gateway.billing.checkout.prices import resolve_prices
from gateway.billing.context import Billing
from gateway.billing.installed_apps import InstalledApps
from gateway.billing.price_book import PriceBook
from gateway.billing.work.transaction import Transaction
from gateway.errors import UpstreamFailed
from gateway.store import alerts
from gateway.stripe.client import Stripe
from gateway.stripe.errors import StripeNotFound
from gateway.tiers.candidates import best_item
from gateway.tiers.model import RUNNING_STATUSES, Concern, Subscription

KIND = "unadopted_payer"
MAX_CONCURRENT = 8
LOOK_UP_SECONDS = 10


async def check_payers(billing: Billing, customer_ids: Iterable[str]) -> dict[str, str]:
    """Check what these unknown customers pay for; open an alert for each that pays for a tier, resolve the others.

    Returns the failed look-ups: customer id → reason. Raises `UpstreamFailed` if the prices cannot be resolved.
    """
    candidates = list(customer_ids)
    if candidates and not billing.prices.complete:  # or a price of a tier would not be recognised
        await resolve_prices(billing)
    at_once, failed = asyncio.Semaphore(MAX_CONCURRENT), dict[str, str]()
    opened: list[Concern] = []
    over: list[tuple[str, str]] = []

    async def check(customer_id: str) -> None:
        try:
            async with at_once, asyncio.timeout(LOOK_UP_SECONDS):
                concern = paying_concern(billing.apps, billing.prices, await _running(billing.stripe, customer_id))
        except (UpstreamFailed, TimeoutError) as exc:
            failed[customer_id] = getattr(exc, "detail", "") or "Stripe did not answer in time"
            return
        if concern is None:
            over.append((KIND, customer_id))
        else:
            opened.append(concern)

    await asyncio.gather(*map(check, candidates))

    def job(tx: Transaction) -> None:
        tx.open_alerts(opened)
        tx.resolve_alerts(over)

    if opened or over:
        await billing.work.write(job)
    return failed


async def _running(stripe: Stripe, customer_id: str) -> list[Subscription]:
    """Subscriptions that have not ended; none for a customer that Stripe does not know."""
    try:
        return await stripe.subscriptions.of_customer(customer_id, with_ended=False)
    except StripeNotFound:
        return []


def paying_concern(
    apps: InstalledApps, prices: PriceBook, subscriptions: Sequence[Subscription], app_id: str | None = None
) -> Concern | None:
    """The concern about the customer of these subscriptions, if one that runs has a price of a tier (of this app)."""
    for subscription in subscriptions:
        if subscription.status not in RUNNING_STATUSES:
            continue
        for app in apps.catalog.apps.values():
            if app_id not in (None, app.app_id):
                continue
            best = best_item(app, subscription, prices.known_tiers(app.app_id))
            if best is not None:
                customer_id, (rank, item) = subscription.customer_id, best
                message = (
                    f"{customer_id} pays {item.price_id} of {app.app_id}/{app.tiers[rank].tier_id} "
                    f"({subscription.subscription_id}) and is no user of ours; find out which user it is, then: "
                    f"skpay users adopt --app {app.app_id} --customer {customer_id} --user USER --apply"
                )
                return Concern("unadopted_payer", customer_id, message)
    return None


def alerted(conn: Connection, customer_ids: Iterable[str]) -> set[str]:
    """Those of these customers that have an open alert."""
    return {each for each in customer_ids if alerts.is_open(conn, KIND, each)}
