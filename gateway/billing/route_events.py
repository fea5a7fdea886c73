"""From an event in the inbox to the person it is about. The event itself is a hint: it only asks for a refresh."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from gateway.billing.account import event_concern
from gateway.billing.adopt import adopt_unknown
from gateway.billing.backoff import backoff_seconds
from gateway.billing.context import Billing
from gateway.billing.receive import customer_of, related_path
from gateway.errors import UpstreamFailed
from gateway.log import fields
from gateway.store import customers, inbox, refreshes
from gateway.store.customers import Customer
from gateway.store.inbox import Event
from gateway.stripe.client import StripeError

log = logging.getLogger(__name__)

BATCH = 100
OF_BUYERS = ("customer.subscription.", "customer.updated", "checkout.session.", "invoice.")
"""After these somebody may have another tier: whose customer they name is found out. Of other events it is not."""
LOOK_UP_SECONDS = 10


@dataclass(frozen=True, slots=True)
class _Found:
    """An event with the customer it is about, None if it is about none; `failed` says why that is not known yet."""

    event: Event
    customer_id: str | None
    failed: str = ""


async def route_events(billing: Billing) -> int:
    """Mark the owner of each waiting event for a refresh, in one transaction with the event's end. Returns how many.

    What names its customer goes first; thin events, of which Stripe must be asked, hold nobody up.
    """
    events = await billing.store.read(lambda conn: inbox.waiting(conn, billing.now(), BATCH))
    paths = [_path(event, billing) for event in events]
    named = [_Found(event, event.customer_id) for event, path in zip(events, paths, strict=True) if path is None]
    unknown = await billing.store.read(lambda conn: [each for each in named if _may_be_ours(conn, each, billing)])
    await _route(billing, [each for each in named if each not in unknown])
    looked_up = (_look_up(billing, event, path) for event, path in zip(events, paths, strict=True) if path is not None)
    await _route(billing, await _adopt(billing, [*unknown, *await asyncio.gather(*looked_up)]))
    return len(events)


def _may_be_ours(conn: Connection, found: _Found, billing: Billing) -> bool:
    """Nobody knows this event's customer, but our own signature may be on it: after a restore, or a lost answer."""
    event = found.event
    if found.customer_id is None or event_concern(billing, event.event_id, event.livemode, event.account) is not None:
        return False
    return event.type.removeprefix("v1.").startswith(OF_BUYERS) and customers.owner(conn, found.customer_id) is None


async def _adopt(billing: Billing, found: Sequence[_Found]) -> list[_Found]:
    """The same events, after those of their customers that are ours were stored."""
    failed = await adopt_unknown(billing, (each.customer_id for each in found if each.customer_id is not None))
    return [replace(each, failed=each.failed or failed.get(each.customer_id or "", "")) for each in found]


def _path(event: Event, billing: Billing) -> str | None:
    """What to ask Stripe for, to learn whose event this is; None where that is known or no business of ours."""
    ours = event_concern(billing, event.event_id, event.livemode, event.account) is None
    return related_path(event.body) if ours and event.customer_id is None else None


async def _look_up(billing: Billing, event: Event, path: str) -> _Found:
    try:
        async with asyncio.timeout(LOOK_UP_SECONDS):
            return _Found(event, customer_of(await billing.stripe.get(path)))
    except (UpstreamFailed, TimeoutError) as exc:
        if isinstance(exc, StripeError) and exc.stripe_code == "resource_missing":
            return _Found(event, None)
        detail = exc.detail if isinstance(exc, UpstreamFailed) else "Stripe did not answer in time"
        return _Found(event, None, failed=detail or "Stripe cannot be asked")


async def _route(billing: Billing, found: Sequence[_Found]) -> None:
    if not found:
        return

    def job(conn: Connection) -> list[tuple[_Found, Customer]]:
        now = billing.now()
        return [(each, owner) for each in found if (owner := _end(conn, each, billing, now)) is not None]

    routed = await billing.store.write(job)
    if routed:
        billing.refresh_wanted.set()
    for each, owner in routed:
        event = each.event
        log.info(
            "event_routed",
            extra=fields(event_id=event.event_id, type=event.type, app_id=owner.app_id, user_id=owner.user_id),
        )
    for each in found:
        if each.failed:
            log.warning("event_put_off", extra=fields(event_id=each.event.event_id, detail=each.failed))


def _end(conn: Connection, found: _Found, billing: Billing, now: int) -> Customer | None:
    """Whose refresh the event asks for now, if anybody's.

    An event of a customer that is not ours is none of our business: other products share the Stripe account.
    """
    event = found.event
    if found.failed:
        inbox.retry(conn, event.account, event.event_id, now + backoff_seconds(event.attempts + 1), found.failed)
        return None
    owner = customers.owner(conn, found.customer_id) if found.customer_id else None
    if owner is None or event_concern(billing, event.event_id, event.livemode, event.account) is not None:
        inbox.finish(conn, event.account, event.event_id, "ignored", now)
        return None
    refreshes.want(conn, owner.app_id, owner.user_id, now)
    inbox.finish(conn, event.account, event.event_id, "handled", now, owner.app_id, owner.user_id)
    return owner
