"""Subscriptions that Stripe no longer lists. This should not happen: its lists include ended ones. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from gateway.tiers.model import NO_LONGER_LISTED, LastGoodTier, Subscription


def missing_subscriptions(
    last_good: Iterable[LastGoodTier], listed: Sequence[Subscription], living_customers: Collection[str]
) -> tuple[Subscription, ...]:
    """A placeholder for each subscription that gave a tier, is not `listed`, and whose customer still exists.

    It ends at the instant that was known before; without one only an operator can end it.
    """
    ids = {each.subscription_id for each in listed}
    return tuple(
        _placeholder_subscription(last_tier)
        for last_tier in last_good
        if last_tier.subscription_id not in ids and last_tier.customer_id in living_customers and last_tier.gives
    )


def _placeholder_subscription(last_tier: LastGoodTier) -> Subscription:
    return Subscription(
        subscription_id=last_tier.subscription_id,
        customer_id=last_tier.customer_id,
        status=NO_LONGER_LISTED,
        items=(),
        created_at=0,
        period_end_at=None,
        cancel_at=None,
        cancel_at_period_end=False,
        ended_at=None,
        trial_end_at=None,
        pause_behavior=None,
        collection_method="",
    )
