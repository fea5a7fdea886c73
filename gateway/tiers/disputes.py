"""How disputes, refunds and fraud warnings affect the tier, and which alerts they open. Pure.

At Stripe they belong to a charge, not to a subscription: they affect the subscriptions of the charge's customer.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from gateway.catalog.model import App
from gateway.tiers.model import (
    ENDED_STATUSES,
    Concern,
    Dispute,
    DisputeOrRefund,
    FraudWarning,
    Reason,
    Refund,
    Subscription,
)

# A dispute's status → its state here. An inquiry ("warning_…") has taken no money. A status that is not listed (Stripe
# may add one) opens an alert and affects no tier. Source: stripe-python 16.1.0, `_dispute.py`.
DISPUTE_STATES = {
    "needs_response": "open",
    "under_review": "open",
    "appeal_needs_response": "open",
    "appeal_under_review": "open",
    "warning_needs_response": "inquiry",
    "warning_under_review": "inquiry",
    "lost": "lost",
    "won": "closed",
    "warning_closed": "closed",
    "prevented": "closed",
}
HOLD_REASONS = (Reason.DISPUTE_OPEN, Reason.DISPUTE_LOST, Reason.REFUNDED)


def hold_reason(app: App, subscription: Subscription, disputes: Sequence[DisputeOrRefund], now: int) -> Reason | None:
    """Why this subscription gives no more than the first tier at `now`; None if no dispute or refund prevents it."""
    reasons = {_hold_reason_of(app, subscription, each, now) for each in disputes}
    return next((reason for reason in HOLD_REASONS if reason in reasons), None)


def _hold_reason_of(app: App, subscription: Subscription, each: DisputeOrRefund, now: int) -> Reason | None:
    if isinstance(each, Dispute) and app.on_dispute == "hold" and each.customer_id == subscription.customer_id:
        state = DISPUTE_STATES.get(each.status)
        if state == "open":
            return Reason.DISPUTE_OPEN
        # A subscription that was created after the dispute was paid with another charge.
        if state == "lost" and subscription.created_at <= each.created_at:
            return Reason.DISPUTE_LOST
    if isinstance(each, Refund) and app.on_full_refund == "hold" and _refund_holds(each, subscription, now):
        return Reason.REFUNDED
    return None


def _refund_holds(refund: Refund, subscription: Subscription, now: int) -> bool:
    return refund.in_full and refund.subscription_id == subscription.subscription_id and now < refund.until_at


def dispute_concerns(
    app: App, subscriptions: Sequence[Subscription], disputes: Sequence[DisputeOrRefund], now: int
) -> tuple[Concern, ...]:
    """What an operator must check. An alert whose concern is no longer returned is resolved."""
    found = [
        _of_dispute(app, subscriptions, each)
        if isinstance(each, Dispute)
        else _of_refund(app, subscriptions, each, now)
        if isinstance(each, Refund)
        else _of_warning(each)
        for each in disputes
    ]
    return tuple(concern for concern in found if concern is not None)


def is_closed(each: DisputeOrRefund, now: int) -> bool:
    """Whether it needs no further refresh, unless Stripe sends an event about it."""
    if isinstance(each, Dispute):
        return DISPUTE_STATES.get(each.status) in ("closed", "lost")
    return now >= each.until_at if isinstance(each, Refund) else not each.actionable


def _of_dispute(app: App, subscriptions: Sequence[Subscription], dispute: Dispute) -> Concern | None:
    state = DISPUTE_STATES.get(dispute.status, "inquiry")
    what = f"{dispute.dispute_id}: {dispute.amount} {dispute.currency} (minor units) of {dispute.customer_id}"
    if state == "lost":
        running = ", ".join(
            each.subscription_id
            for each in subscriptions
            if each.customer_id == dispute.customer_id
            and each.status not in ENDED_STATUSES
            and each.created_at <= dispute.created_at
        )
        effect = "is held at the first tier" if app.on_dispute == "hold" else "keeps its tier"
        message = f"{what}: the dispute was lost; {running} {effect} and will be charged again: cancel it"
        return Concern("dispute_lost", dispute.dispute_id, message) if running else None
    if state == "closed":
        return None
    if state == "inquiry":
        effect = "an inquiry: no money was taken and no tier changes"
    else:
        effect = "the first tier until it is closed" if app.on_dispute == "hold" else "the tier is kept"
    until = f"answer by {_day(dispute.due_at)}" if dispute.due_at else "no answer is accepted"
    message = f"{what} disputed as {dispute.reason[:60]} ({dispute.status[:40]}); {effect}; {until}"
    return Concern("dispute_open", dispute.dispute_id, message)


def _of_refund(app: App, subscriptions: Sequence[Subscription], refund: Refund, now: int) -> Concern | None:
    paid = next((each for each in subscriptions if each.subscription_id == refund.subscription_id), None)
    if not refund.in_full or now >= refund.until_at or (paid is not None and paid.status in ENDED_STATUSES):
        return None
    what = f"{refund.charge_id}: {refund.amount} {refund.currency} (minor units) of {refund.customer_id}"
    if paid is None:
        effect = "it paid for no known subscription"
    elif app.on_full_refund == "hold":
        effect = f"{paid.subscription_id} is held at the first tier until {_day(refund.until_at)}, then renews"
    else:
        effect = f"{paid.subscription_id} keeps running with its tier: cancel it if that is not intended"
    return Concern("refunded", refund.charge_id, f"{what} refunded in full; {effect}")


def _of_warning(warning: FraudWarning) -> Concern | None:
    if not warning.actionable:
        return None
    message = (
        f"{warning.warning_id}: the card issuer reports {warning.charge_id} of {warning.customer_id} as fraud "
        f"({warning.fraud_type[:60]}); refund it before it becomes a dispute"
    )
    return Concern("fraud_warning", warning.warning_id, message)


def _day(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d} (UTC)"
