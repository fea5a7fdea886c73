"""Route each event of the inbox to its user, and request a refresh. Nothing else of an event is used."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

from sqlalchemy import Connection

from gateway.billing.accounts.account import event_concern
from gateway.billing.accounts.adopt import adopt_unknown
from gateway.billing.accounts.stripe_account import StripeAccount
from gateway.billing.context import Billing
from gateway.billing.refresh.disputes import UNREADABLE, is_dispute_event
from gateway.billing.work.retry import ROUTE_EVENTS, Failure, NextStep, classify, next_step
from gateway.billing.work.transaction import Transaction
from gateway.errors import UpstreamFailed
from gateway.log import fields
from gateway.store import customers, disputes, inbox
from gateway.store.customers import Customer
from gateway.store.inbox import Event
from gateway.stripe.client import Stripe
from gateway.stripe.event_content import EventContent, EventObject, event_content
from gateway.stripe.event_types import is_about_charge, is_new_subscription, may_change_tier
from gateway.tiers.model import Concern

log = logging.getLogger(__name__)

OwnerOf = Callable[[str], Customer | None]
BATCH = 100
LOOK_UP_SECONDS = 10


@dataclass(frozen=True, slots=True)
class _RoutedEvent:
    """An event and its customer, None if it has none. `failed` is why the customer is not known yet, '' if it is.

    `meaning` is None where the body is not needed. `requested`: the event's object was requested from Stripe. `failure`
    is of the failed request. `duplicate_of` is the handled event about the same change.
    """

    event: Event
    customer_id: str | None
    meaning: EventContent | None = None
    failed: str = ""
    requested: bool = False
    failure: Failure = Failure.UNAVAILABLE
    duplicate_of: Event | None = None

    @property
    def question(self) -> EventObject | None:
        """The object to request from Stripe for its customer; None if the customer is known or not needed."""
        return (
            self.meaning.to_fetch if self.meaning and self.customer_id is None and self.duplicate_of is None else None
        )


@dataclass(frozen=True, slots=True)
class _RoutingResult:
    """The events that one transaction routed, with their customers, and those that wait for a retry."""

    routed: Sequence[tuple[_RoutedEvent, Customer]]
    deferred: Sequence[_RoutedEvent]


async def route_events(billing: Billing) -> int:
    """Request a refresh for the user of each waiting event and finish the event, in one transaction; returns how many.

    Events that name their customer go first, so that events that need a request to Stripe do not delay them.
    """

    def job(tx: Transaction) -> tuple[int, list[_RoutedEvent], _RoutingResult]:
        events = inbox.waiting(tx.conn, tx.now, BATCH)
        # One purchase makes many events of one customer: each customer is read once a pass.
        owner_of = cache(partial(customers.owner, tx.conn))
        now_and_later: tuple[list[_RoutedEvent], list[_RoutedEvent]] = [], []
        for event in events:
            found = _RoutedEvent(event, event.customer_id, _meaning(event, billing.stripe, billing.account))
            now_and_later[
                found.question is not None or _may_be_ours(found, billing.stripe, billing.account, owner_of)
            ].append(found)
        at_once, later = now_and_later
        return len(events), later, _end_all(tx, billing.stripe, billing.account, at_once, owner_of)

    count, later, ended = await billing.work.write(job)
    _log(ended)
    unknown = [each for each in later if each.question is None]
    lookups = [each for each in later if each.question is not None]
    if lookups:
        lookups = await billing.work.read(
            lambda conn: [replace(each, duplicate_of=_find_duplicate(conn, each)) for each in lookups]
        )
    looked_up = await asyncio.gather(*(_look_up(billing.stripe, each) for each in lookups))
    if later:
        await _route(billing, await _adopt(billing, [*unknown, *looked_up]))
    return count


def _meaning(event: Event, stripe: Stripe, account: StripeAccount) -> EventContent | None:
    """The content of an event of our account that names no customer or is about a charge."""
    if not _is_ours(event, stripe, account):
        return None
    return event_content(event.body) if event.customer_id is None or is_about_charge(event.type) else None


def _find_duplicate(conn: Connection, found: _RoutedEvent) -> Event | None:
    """The handled snapshot event of a thin event. A replayed event has none, so that it is routed."""
    event, snapshot_id = found.event, found.meaning.snapshot_event_id if found.meaning else None
    replayed = event.attempts == 0 and event.due_at > event.received_at
    duplicate_of = inbox.get(conn, event.account, snapshot_id) if snapshot_id and not replayed else None
    return duplicate_of if duplicate_of is not None and duplicate_of.state == "handled" else None


def _is_ours(event: Event, stripe: Stripe, account: StripeAccount) -> bool:
    """Whether it is of the mode and account that we work with."""
    return event_concern(stripe, account, event.event_id, event.livemode, event.account) is None


def _may_be_ours(found: _RoutedEvent, stripe: Stripe, account: StripeAccount, owner_of: OwnerOf) -> bool:
    """Whether its customer is unknown here but may carry our signature: after a restore, or a lost response."""
    event = found.event
    if found.customer_id is None or not _is_ours(event, stripe, account):
        return False
    return may_change_tier(event.type) and owner_of(found.customer_id) is None


async def _adopt(billing: Billing, found: Sequence[_RoutedEvent]) -> list[_RoutedEvent]:
    """Store those of their customers that carry our signature; returns the events with the failures."""
    named = [each for each in found if each.customer_id is not None]
    subscribing = {each.customer_id or "" for each in named if is_new_subscription(each.event.type)}
    failed = await adopt_unknown(billing, (each.customer_id or "" for each in named), subscribing=subscribing)
    return [replace(each, failed=each.failed or failed.get(each.customer_id or "", "")) for each in found]


async def _look_up(stripe: Stripe, found: _RoutedEvent) -> _RoutedEvent:
    """The event with its customer, by one request to Stripe if it needs one."""
    subject = found.question
    if subject is None:
        return found
    try:
        async with asyncio.timeout(LOOK_UP_SECONDS):
            customer_id = await stripe.events.customer_id_of(subject)
        return replace(found, customer_id=customer_id, requested=True)
    except (UpstreamFailed, TimeoutError) as exc:
        detail = exc.detail if isinstance(exc, UpstreamFailed) else "Stripe did not answer in time"
        return replace(found, failed=detail or "Stripe did not answer", requested=True, failure=classify(exc))


async def _route(billing: Billing, found: Sequence[_RoutedEvent]) -> None:
    def job(tx: Transaction) -> _RoutingResult:
        return _end_all(tx, billing.stripe, billing.account, found, cache(partial(customers.owner, tx.conn)))

    _log(await billing.work.write(job))


def _end_all(
    tx: Transaction, stripe: Stripe, account: StripeAccount, found: Sequence[_RoutedEvent], owner_of: OwnerOf
) -> _RoutingResult:
    routed = [(each, owner) for each in found if (owner := _end(tx, each, stripe, account, owner_of)) is not None]
    for app_id, user_id in sorted({(owner.app_id, owner.user_id) for _, owner in routed}):
        tx.want_refresh(app_id, user_id)
    readable = {(UNREADABLE, _kind(each)) for each in found if each.requested and not each.failed}
    tx.open_alerts(concern for each in found if (concern := _concern(each, tx.now)) is not None)
    tx.resolve_alerts(sorted(readable))
    return _RoutingResult(routed, [each for each in found if each.failed])


def _log(ended: _RoutingResult) -> None:
    for each, owner in ended.routed:
        event = each.event
        log.info(
            "event_routed",
            extra=fields(event_id=event.event_id, type=event.type, app_id=owner.app_id, user_id=owner.user_id),
        )
    for each in ended.deferred:
        log.warning("event_deferred", extra=fields(event_id=each.event.event_id, detail=each.failed))


def _next_step(found: _RoutedEvent, now: int) -> NextStep:
    return next_step(ROUTE_EVENTS, found.failure, found.event.attempts + 1, now)


def _concern(found: _RoutedEvent, now: int) -> Concern | None:
    """The alert of an event whose object Stripe refuses to show, or has failed to show for a while."""
    if not found.requested or not found.failed or not _next_step(found, now).alert:
        return None
    message = f"{found.event.event_id} ({found.event.type}): its customer cannot be read from Stripe: {found.failed}"
    return Concern("event_unreadable", _kind(found), message)


def _kind(found: _RoutedEvent) -> str:
    return found.meaning.subject.kind if found.meaning and found.meaning.subject else found.event.type


def _end(
    tx: Transaction, found: _RoutedEvent, stripe: Stripe, account: StripeAccount, owner_of: OwnerOf
) -> Customer | None:
    """Finish the event, or schedule its retry; returns the customer to refresh, None if there is none.

    Events of unknown customers are ignored: other products share the Stripe account.
    """
    conn, now, event = tx.conn, tx.now, found.event
    if found.failed:
        inbox.retry(conn, event.account, event.event_id, _next_step(found, now).retry_at, found.failed)
        return None
    if found.duplicate_of is not None:
        inbox.finish(
            conn, event.account, event.event_id, "duplicate", now, found.duplicate_of.app_id, found.duplicate_of.user_id
        )
        return None
    owner = owner_of(found.customer_id) if found.customer_id else None
    if owner is None or not _is_ours(event, stripe, account):
        inbox.finish(conn, event.account, event.event_id, "ignored", now)
        return None
    subject = found.meaning.subject if found.meaning else None
    if subject is not None and is_dispute_event(event.type, subject):
        disputes.record_event(
            conn, subject.object_id, subject.kind, owner.customer_id, owner.app_id, owner.user_id, now
        )
    inbox.finish(conn, event.account, event.event_id, "handled", now, owner.app_id, owner.user_id)
    return owner
