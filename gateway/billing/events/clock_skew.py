"""Events with a valid signature and a timestamp too far from our clock (T28): a wrong clock, or old events."""

from __future__ import annotations

import logging

from gateway.billing.context import Billing
from gateway.billing.events.webhook_state import WebhookState
from gateway.billing.work.alerting import open_alert
from gateway.billing.work.transaction import Transaction
from gateway.errors import StoreUnavailable
from gateway.log import fields
from gateway.stripe.signature import TOLERANCE_SECONDS

log = logging.getLogger(__name__)


async def alert_skew(billing: Billing, skew_seconds: int) -> None:
    """Alert that a signed event was refused for its age; `skew_seconds` is our clock minus the signature's time."""
    ahead = billing.stripe.clock_ahead_seconds
    log.warning("webhook_signature_stale", extra=fields(skew_seconds=skew_seconds, clock_ahead_seconds=ahead))
    try:
        await open_alert(billing.work, "webhook_clock_skew", "stripe", _message(skew_seconds, ahead))
    except StoreUnavailable:  # the event is refused all the same, and the store reports its own failure
        log.warning("webhook_clock_skew_not_recorded")
    else:
        billing.webhooks.skews += 1


def end_skew(tx: Transaction, webhooks: WebhookState, skews: int) -> None:
    """Resolve the alert, unless an earlier event has done so since the last of the `skews` stale ones."""
    if webhooks.skews_settled != skews:
        tx.resolve_alert("webhook_clock_skew", "stripe")


def _message(skew_seconds: int, ahead: int | None) -> str:
    when = f"{skew_seconds} s ago" if skew_seconds >= 0 else f"{-skew_seconds} s from now"
    what = f"an event with a good signature was refused: by our clock it was signed {when}"
    if ahead is None:
        return f"{what}; Stripe's clock is not known yet: compare this machine's clock with the real time"
    if abs(ahead) > TOLERANCE_SECONDS // 2:
        way = "ahead of" if ahead > 0 else "behind"
        return f"{what}; OUR clock is {abs(ahead)} s {way} Stripe's: set this machine's clock"
    return f"{what}; our clock is right (Stripe's differs by {abs(ahead)} s): an old event was resent or delayed"
