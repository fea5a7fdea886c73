"""Charges that are disputed, given back or called fraud: what they hold back, and what a person must see. Pure.

Stripe says all this of charges, never of subscriptions: what is held are the subscriptions of the charge's customer.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from gateway.catalog.model import App
from gateway.tiers.model import ENDED_STATUSES, Concern, Contested, Dispute, FraudWarning, Reason, Refund, Subscription

# A dispute's status → what it is to us. An inquiry ("warning_…") has taken no money. A status that is not here (Stripe
# may add one) is shown and holds nobody. Source: stripe-python 16.1.0, `_dispute.py`.
DISPUTE_STATES = {
    "needs_response": "open",
    "under_review": "open",
    "appeal_needs_response": "open",
    "appeal_under_review": "open",
    "warning_needs_response": "asked",
    "warning_under_review": "asked",
    "lost": "lost",
    "won": "over",
    "warning_closed": "over",
    "prevented": "over",
}
HOLD_REASONS = (Reason.DISPUTE_OPEN, Reason.DISPUTE_LOST, Reason.REFUNDED)


def hold_reason(app: App, subscription: Subscription, contested: Sequence[Contested], now: int) -> Reason | None:
    """Why this subscription gives no more than the first tier at `now`, None if nothing speaks against it."""
    reasons = {_hold_reason_of(app, subscription, each, now) for each in contested}
    return next((reason for reason in HOLD_REASONS if reason in reasons), None)


def _hold_reason_of(app: App, subscription: Subscription, each: Contested, now: int) -> Reason | None:
    if isinstance(each, Dispute) and app.on_dispute == "hold" and each.customer_id == subscription.customer_id:
        state = DISPUTE_STATES.get(each.status)
        if state == "open":
            return Reason.DISPUTE_OPEN
        # What was bought after the money was taken back is paid for by other money.
        if state == "lost" and subscription.created_at <= each.created_at:
            return Reason.DISPUTE_LOST
    if isinstance(each, Refund) and app.on_full_refund == "hold" and _refund_holds(each, subscription, now):
        return Reason.REFUNDED
    return None


def _refund_holds(refund: Refund, subscription: Subscription, now: int) -> bool:
    return refund.in_full and refund.subscription_id == subscription.subscription_id and now < refund.until_at


def dispute_concerns(
    app: App, subscriptions: Sequence[Subscription], contested: Sequence[Contested], now: int
) -> tuple[Concern, ...]:
    """What a person must look at; one that is not returned any more is over."""
    found = [
        _of_dispute(app, subscriptions, each)
        if isinstance(each, Dispute)
        else _of_refund(app, subscriptions, each, now)
        if isinstance(each, Refund)
        else _of_warning(each)
        for each in contested
    ]
    return tuple(concern for concern in found if concern is not None)


def is_closed(each: Contested, now: int) -> bool:
    """Whether Stripe need not be asked of it again, unless it says something itself."""
    if isinstance(each, Dispute):
        return DISPUTE_STATES.get(each.status) in ("over", "lost")
    return now >= each.until_at if isinstance(each, Refund) else not each.actionable


def _of_dispute(app: App, subscriptions: Sequence[Subscription], dispute: Dispute) -> Concern | None:
    state = DISPUTE_STATES.get(dispute.status, "asked")
    what = f"{dispute.dispute_id}: {dispute.amount} {dispute.currency} (minor units) of {dispute.customer_id}"
    if state == "lost":
        running = ", ".join(
            each.subscription_id
            for each in subscriptions
            if each.customer_id == dispute.customer_id
            and each.status not in ENDED_STATUSES
            and each.created_at <= dispute.created_at
        )
        held = "is held at the first tier" if app.on_dispute == "hold" else "keeps its tier"
        message = f"{what}: the dispute was lost; {running} {held} and will be charged again: cancel it"
        return Concern("dispute_lost", dispute.dispute_id, message) if running else None
    if state == "over":
        return None
    if state == "asked":
        effect = "the bank only asks, no money was taken and no tier changes"
    else:
        effect = "the first tier until it is closed" if app.on_dispute == "hold" else "the tier is kept"
    until = f"answer by {_day(dispute.due_at)}" if dispute.due_at else "Stripe takes no answer"
    message = f"{what} disputed as {dispute.reason[:60]} ({dispute.status[:40]}); {effect}; {until}"
    return Concern("dispute_open", dispute.dispute_id, message)


def _of_refund(app: App, subscriptions: Sequence[Subscription], refund: Refund, now: int) -> Concern | None:
    paid = next((each for each in subscriptions if each.subscription_id == refund.subscription_id), None)
    if not refund.in_full or now >= refund.until_at or (paid is not None and paid.status in ENDED_STATUSES):
        return None
    what = f"{refund.charge_id}: {refund.amount} {refund.currency} (minor units) of {refund.customer_id}"
    if paid is None:
        effect = "it paid for no subscription that we know"
    elif app.on_full_refund == "hold":
        effect = f"{paid.subscription_id} is held at the first tier until {_day(refund.until_at)}, then renews"
    else:
        effect = f"{paid.subscription_id} runs on with its tier: cancel it if that is not meant"
    return Concern("refunded", refund.charge_id, f"{what} refunded in full; {effect}")


def _of_warning(warning: FraudWarning) -> Concern | None:
    if not warning.actionable:
        return None
    message = (
        f"{warning.warning_id}: the issuer of the card calls {warning.charge_id} of {warning.customer_id} fraud "
        f"({warning.fraud_type[:60]}); refund it before it becomes a dispute"
    )
    return Concern("fraud_warning", warning.warning_id, message)


def _day(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d} (UTC)"
