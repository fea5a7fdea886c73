"""Receive a webhook from Stripe: verify the signature and record the event. Routing it follows later."""

from __future__ import annotations

import logging

from gateway.billing.accounts.account import event_concern
from gateway.billing.accounts.stripe_account import StripeAccount
from gateway.billing.context import Billing
from gateway.billing.events.clock_skew import alert_skew, end_skew
from gateway.billing.work.transaction import Loop, Transaction
from gateway.errors import BadSignature
from gateway.log import fields
from gateway.store import inbox
from gateway.stripe.client import Stripe
from gateway.stripe.event_content import EventHeader, parse_event
from gateway.stripe.signature import verify

log = logging.getLogger(__name__)

MAX_EVENT_BYTES = 1024 * 1024


async def receive(billing: Billing, body: bytes, signature: str) -> bool:
    """Record the event; it is on disk when this returns. True if it was new. Idempotent.

    Raises `BadSignature`, `InvalidInput` for signed bytes that are no event, `StoreUnavailable`.
    """
    try:
        verify(body, signature, billing.webhooks.secrets, billing.work.clock())
    except BadSignature as exc:
        if exc.code == "stale_signature":
            await alert_skew(billing, int(str(exc.fields["skew_seconds"])))
        raise
    event = parse_event(body)

    skews = billing.webhooks.skews

    def job(tx: Transaction) -> bool:
        end_skew(tx, billing.webhooks, skews)
        tx.wake(Loop.ROUTE_EVENTS)
        return record(tx, billing.stripe, billing.account, event, body)

    new = await billing.work.write(job)
    billing.webhooks.skews_settled = skews
    # Routing logs the outcome. A line here would cost 39 µs, five times the signature.
    log.debug("event_received", extra=fields(event_id=event.event_id, type=event.event_type, new=new))
    return new


def record(tx: Transaction, stripe: Stripe, account: StripeAccount, event: EventHeader, body: bytes) -> bool:
    """Put an event into the inbox; whether it is new. A new one of another account or mode opens an alert."""
    new = inbox.add(
        tx.conn,
        event.account,
        event.event_id,
        event.event_type,
        event.api_version,
        event.livemode,
        event.customer_id,
        body,
        tx.now,
    )
    concern = event_concern(stripe, account, event.event_id, event.livemode, event.account) if new else None
    tx.open_alerts([concern] if concern else [])
    return new
