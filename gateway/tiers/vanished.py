"""A subscription that Stripe listed once and lists no more, which it never does: lists keep what is over. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from gateway.tiers.model import VANISHED, LastGood, Subscription


def vanished(
    last_good: Iterable[LastGood], listed: Sequence[Subscription], living_customers: Collection[str]
) -> tuple[Subscription, ...]:
    """Every subscription that ever gave a tier, whose customer was asked about and is not deleted, and that is not
    `listed`.

    It ends when it was known to end before; without such an instant only a person can end it.
    """
    ids = {each.subscription_id for each in listed}
    return tuple(
        _remembered(good)
        for good in last_good
        if good.subscription_id not in ids and good.customer_id in living_customers and good.gives
    )


def _remembered(good: LastGood) -> Subscription:
    return Subscription(
        subscription_id=good.subscription_id,
        customer_id=good.customer_id,
        status=VANISHED,
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
