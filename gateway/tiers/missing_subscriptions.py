"""A subscription that Stripe listed once and lists no more, which it never does: lists keep what is over. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from gateway.tiers.model import NO_LONGER_LISTED, LastGoodTier, Subscription


def missing_subscriptions(
    last_good: Iterable[LastGoodTier], listed: Sequence[Subscription], living_customers: Collection[str]
) -> tuple[Subscription, ...]:
    """Every subscription that ever gave a tier, whose customer was asked about and is not deleted, and that is not
    `listed`.

    It ends when it was known to end before; without such an instant only a person can end it.
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
