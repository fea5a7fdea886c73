"""The last good tier of each subscription: the only state that a decision takes from earlier ones. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gateway.catalog.model import App
from gateway.tiers.candidates import TierCandidate, subscription_candidate
from gateway.tiers.model import NO_LONGER_LISTED, Invoice, LastGoodTier, Reason, Subscription
from gateway.tiers.other_prices import has_only_other_prices


def updated_last_good_tiers(
    app: App,
    subscriptions: Sequence[Subscription],
    invoices: Sequence[Invoice],
    known_prices: Mapping[str, str],
    last_good: Mapping[str, LastGoodTier],
    now: int,
) -> dict[str, LastGoodTier]:
    """`last_good` (subscription id → its last good tier), updated by these subscriptions; without ended ones.

    Grants, disputes and other subscriptions do not change it.
    """
    kept: dict[str, LastGoodTier] = {}
    for subscription in subscriptions:
        last_tier = last_good.get(subscription.subscription_id)
        if subscription.has_ended or has_only_other_prices(app, subscription, known_prices):
            continue
        if subscription.status == NO_LONGER_LISTED:
            new = last_tier
        else:
            candidate = subscription_candidate(app, subscription, invoices, known_prices, last_tier, now)
            new = _after(subscription, candidate, last_tier)
        if new is not None:
            kept[new.subscription_id] = new
    return kept


def _after(subscription: Subscription, candidate: TierCandidate, last_tier: LastGoodTier | None) -> LastGoodTier | None:
    """The last good tier after this decision, which is one itself if it gives a tier and did not keep the last."""
    if candidate.rank and candidate.entitlement.reason is not Reason.KEPT:
        return LastGoodTier(
            subscription_id=subscription.subscription_id,
            customer_id=subscription.customer_id,
            tier=candidate.entitlement.tier,
            price_id=candidate.entitlement.price_id,
            gives=True,
            until_at=candidate.until,
            status=subscription.status,
        )
    if last_tier is None:
        return None
    return replace(last_tier, gives=candidate.rank > 0, until_at=candidate.until, status=subscription.status)
