"""Missed events: read from Stripe's list into the inbox and routed like all others.

Stripe keeps events for 30 days. After a longer gap a full pass corrects the state without events.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from gateway.billing.context import Billing
from gateway.billing.events.receive import record
from gateway.billing.work.transaction import Loop, Transaction
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.errors import InvalidInput, UpstreamFailed
from gateway.log import fields
from gateway.store import customers, instance
from gateway.stripe.client import Stripe
from gateway.stripe.event_content import EventHeader, parse_event
from gateway.stripe.event_types import SUBSCRIBED
from gateway.stripe.events import MAX_TYPES

log = logging.getLogger(__name__)

CURSOR = "events_cursor"
OVERLAP_SECONDS = 15 * 60
"""Stripe lists an event with a delay, and clocks differ."""
INITIAL_WINDOW_SECONDS = 3 * 86_400
"""Without a cursor: as long as Stripe retries a webhook."""


@dataclass(frozen=True, slots=True)
class FillResult:
    """How many events Stripe listed, and how many of them were not in the inbox."""

    listed: int
    new: int


async def check_account(billing: Billing) -> None:
    """Return if our key reads the account that our customers are in. Raises `UpstreamFailed` where it does not.

    With another account's key every list is empty and every customer unknown: it looks as if nobody paid (T16).
    """
    if billing.account.wrong:
        raise UpstreamFailed("Our key is of another Stripe account than the store.", retryable=False)
    newest = await billing.work.read(customers.newest)
    if newest is not None:
        await billing.stripe.customers.get(newest.customer_id)


async def fill_inbox(billing: Billing) -> FillResult:
    """Record every event since the cursor that is not in the inbox. Raises `UpstreamFailed`, `StoreUnavailable`.

    The cursor moves only after every page was recorded, so a failed call is repeated from the same start.
    """
    await check_account(billing)
    since = await _since(billing.work, billing.stripe)
    cursor: int | None = None
    listed = new = 0
    for start in range(0, len(SUBSCRIBED), MAX_TYPES):
        types = SUBSCRIBED[start : start + MAX_TYPES]
        await billing.reconciling.pace.wait()
        async for page in billing.stripe.events.pages(types, since):
            cursor = stripe_time(billing.work, billing.stripe) if cursor is None else cursor
            listed += len(page)
            new += await _record_page(billing, page)
            await billing.reconciling.pace.wait()
    await billing.work.store.write(lambda conn: instance.put(conn, CURSOR, str(cursor)))
    if new:
        log.warning("events_missed", extra=fields(new=new, listed=listed, since=since))
    return FillResult(listed, new)


def stripe_time(work: UnitOfWork, stripe: Stripe) -> int:
    """The last time reported by Stripe: a stored time must not depend on our clock, which may be set."""
    return work.now() if stripe.date is None else stripe.date


async def _since(work: UnitOfWork, stripe: Stripe) -> int:
    """The time from which events are listed."""
    if stripe.date is None:
        await stripe.account_id()
    cursor, now = await work.read(lambda conn: instance.get(conn, CURSOR)), stripe_time(work, stripe)
    if cursor is None or int(cursor) > now + OVERLAP_SECONDS:  # written by a clock that was ahead
        return now - INITIAL_WINDOW_SECONDS - OVERLAP_SECONDS
    return int(cursor) - OVERLAP_SECONDS


async def _record_page(billing: Billing, page: list[bytes]) -> int:
    """Record a page in one transaction; how many events were new."""
    read = [(event, body) for body in page if (event := _event(body)) is not None]

    def job(tx: Transaction) -> int:
        new = sum(record(tx, billing.stripe, billing.account, event, body) for event, body in read)
        if new:
            tx.wake(Loop.ROUTE_EVENTS)
        return new

    return await billing.work.write(job)


def _event(body: bytes) -> EventHeader | None:
    """None for an unreadable event, which must not block all others."""
    try:
        return parse_event(body)
    except InvalidInput as exc:
        log.warning("listed_event_unreadable", extra=fields(detail=exc.message))
        return None
