"""The one thing that is kept from the past by rule: the last good tier of each subscription. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gateway.catalog.model import App
from gateway.tiers.claims import subscription_claim
from gateway.tiers.model import VANISHED, Invoice, LastGood, Reason, Subscription
from gateway.tiers.other_prices import has_only_other_prices


def remember(
    app: App,
    subscriptions: Sequence[Subscription],
    invoices: Sequence[Invoice],
    known_prices: Mapping[str, str],
    last_good: Mapping[str, LastGood],
    now: int,
) -> dict[str, LastGood]:
    """`last_good` (subscription id → its last good tier) after this look at Stripe; what is over is left out.

    Neither grants nor disputes nor other subscriptions touch it, so it outlives whatever comes between.
    """
    kept: dict[str, LastGood] = {}
    for subscription in subscriptions:
        good = last_good.get(subscription.subscription_id)
        if subscription.over or has_only_other_prices(app, subscription, known_prices):
            continue
        if subscription.status == VANISHED:
            new = good
        else:
            claim = subscription_claim(app, subscription, invoices, known_prices, good, now)
            if claim.rank and claim.entitlement.reason is not Reason.KEPT:
                new = LastGood(
                    subscription_id=subscription.subscription_id,
                    customer_id=subscription.customer_id,
                    tier=claim.entitlement.tier,
                    price_id=claim.entitlement.price_id,
                    gives=True,
                    until_at=claim.until,
                    status=subscription.status,
                )
            else:
                new = (
                    None
                    if good is None
                    else replace(good, gives=claim.rank > 0, until_at=claim.until, status=subscription.status)
                )
        if new is not None:
            kept[new.subscription_id] = new
    return kept
