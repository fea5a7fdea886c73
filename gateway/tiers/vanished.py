"""A subscription that Stripe listed once and lists no more, which it never does: lists keep what is over. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gateway.tiers.model import Entitlement, Subscription

VANISHED = "vanished"
"""No status of Stripe's: it marks what is only remembered."""


def vanished(
    previous: Entitlement | None, listed: Sequence[Subscription], living_customers: Collection[str]
) -> tuple[Subscription, ...]:
    """What gave the last tier, if its customer was asked about, is not deleted, and it is not `listed`.

    It ends when it was known to end before; without such an instant only a person can end it.
    """
    if previous is None or previous.source != "subscription" or previous.subscription_id is None:
        return ()
    customer_id = previous.customer_id
    if customer_id is None or customer_id not in living_customers:
        return ()
    if any(each.subscription_id == previous.subscription_id for each in listed):
        return ()
    remembered = Subscription(
        subscription_id=previous.subscription_id,
        customer_id=customer_id,
        status=VANISHED,
        items=(),
        created_at=0,
        period_end_at=previous.until,
        cancel_at=None,
        cancel_at_period_end=False,
        ended_at=None,
        trial_end_at=None,
        pause_behavior=None,
        collection_method="",
    )
    return (remembered,)
