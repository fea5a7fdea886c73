"""The types of event that the service uses. Pure.

Thin events have the same types with the prefix `v1.`; every function here accepts both.
"""

from __future__ import annotations

NEEDED = (
    "charge.dispute.closed", "charge.dispute.created", "checkout.session.completed", "checkout.session.expired",
    "customer.deleted", "customer.subscription.created", "customer.subscription.deleted",
    "customer.subscription.paused", "customer.subscription.resumed", "customer.subscription.updated", "invoice.paid",
    "invoice.payment_failed",
)  # fmt: skip
"""Without one of these a tier may stay wrong until the daily comparison."""
USEFUL = (
    "charge.dispute.funds_reinstated", "charge.dispute.funds_withdrawn", "charge.dispute.updated", "charge.refunded",
    "checkout.session.async_payment_failed", "checkout.session.async_payment_succeeded",
    "customer.subscription.pending_update_applied", "customer.subscription.pending_update_expired",
    "customer.subscription.trial_will_end", "customer.updated", "invoice.payment_action_required",
    "radar.early_fraud_warning.created", "radar.early_fraud_warning.updated", "subscription_schedule.canceled",
    "subscription_schedule.released", "subscription_schedule.updated",
)  # fmt: skip
SUBSCRIBED = (*NEEDED, *USEFUL)
"""What the webhook endpoint is subscribed to (SOP.md), so what Stripe delivers."""
PAYMENT_FAILED = "checkout.session.async_payment_failed"


def may_change_tier(event_type: str) -> bool:
    """Whether the tier of the customer may differ afterwards, so that an unknown customer is looked up."""
    return _plain(event_type).startswith(
        ("customer.subscription.", "customer.updated", "checkout.session.", "invoice.")
    )


def is_new_subscription(event_type: str) -> bool:
    return _plain(event_type) == "customer.subscription.created"


def is_about_charge(event_type: str) -> bool:
    """Refunds, disputes and early fraud warnings."""
    return _plain(event_type).startswith(("charge.", "radar."))


def is_refund(event_type: str) -> bool:
    return _plain(event_type) == "charge.refunded"


def is_failed_payment(event_type: str) -> bool:
    """Whether a delayed payment of a checkout session failed."""
    return _plain(event_type) == PAYMENT_FAILED


def _plain(event_type: str) -> str:
    return event_type.removeprefix("v1.")
