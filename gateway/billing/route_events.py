"""From an event in the inbox to the person it is about. The event itself is a hint: it only asks for a refresh."""

from __future__ import annotations

import logging

from sqlalchemy import Connection

from gateway.billing.context import Billing
from gateway.log import fields
from gateway.store import customers, inbox, refreshes
from gateway.store.inbox import Event

log = logging.getLogger(__name__)

BATCH = 100


async def route_events(billing: Billing) -> int:
    """Mark the owner of each waiting event for a refresh, in one transaction with the event's end. Returns how many."""

    def job(conn: Connection) -> int:
        now = billing.now()
        events = inbox.waiting(conn, now, BATCH)
        for event in events:
            _route(conn, event, billing, now)
        return len(events)

    routed = await billing.store.write(job)
    if routed:
        billing.refresh_wanted.set()
    return routed


def _route(conn: Connection, event: Event, billing: Billing, now: int) -> None:
    """An event of a customer that is not ours is none of our business: other products share the Stripe account."""
    owner = customers.owner(conn, event.customer_id) if event.customer_id else None
    if owner is None or event.livemode != billing.stripe.livemode:
        inbox.finish(conn, event.account, event.event_id, "ignored", now)
        return
    refreshes.want(conn, owner.app_id, owner.user_id, now)
    inbox.finish(conn, event.account, event.event_id, "handled", now, owner.app_id, owner.user_id)
    log.info(
        "event_routed",
        extra=fields(event_id=event.event_id, type=event.type, app_id=owner.app_id, user_id=owner.user_id),
    )
