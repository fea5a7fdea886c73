"""Read one user from Stripe, decide the entitlement and commit it: the only writer of entitlements but `move_user`.

The lease is committed before the fetch and checked at the write, so two refreshes of one user cannot be committed in
the wrong order.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from gateway.billing.checkout.prices import resolve_prices
from gateway.billing.context import Billing
from gateway.billing.installed_apps import InstalledApps
from gateway.billing.notify.notices import write_notice
from gateway.billing.price_book import PriceBook
from gateway.billing.refresh.disputes import fetch_answers, record_answers
from gateway.billing.refresh.disputes import known as known_disputes
from gateway.billing.refresh.holdings import Holdings, fetch_holdings
from gateway.billing.work.retry import REFRESH, classify, describe, next_step, traceback_of
from gateway.billing.work.transaction import Transaction
from gateway.catalog.model import App
from gateway.errors import StoreUnavailable
from gateway.log import fields
from gateway.store import customers, entitlements, grants, last_good, prices, refreshes
from gateway.store.entitlements import Change, Stored
from gateway.store.refreshes import Lease
from gateway.tiers.decide import decide
from gateway.tiers.last_good_tiers import updated_last_good_tiers
from gateway.tiers.missing_subscriptions import missing_subscriptions
from gateway.tiers.model import ENDED_STATUSES, Entitlement, LastGoodTier, Reason, Subscription

log = logging.getLogger(__name__)

LEASE_SECONDS = 60
FETCH_SECONDS = 45
KEPT_SECONDS = 72 * 3600
LATE_SECONDS = 600
MAX_TIMER_SECONDS = 30 * 86_400
TIMER_LEAD_SECONDS = 5
"""So long before the clock alone would lower a payer's tier, the user is refreshed."""


class LeaseLostError(Exception):
    """Another refresh of this user has begun: what we fetched may be older than what it will commit."""


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The decision from a user's holdings, and what is stored. `new_prices`: price id → (tier id, lookup key) of prices
    not stored before. `last_good`: subscription id → the last good tier of each that has not ended.
    """

    decided: Entitlement
    stored: Stored | None
    new_prices: Mapping[str, tuple[str, str | None]]
    last_good: Mapping[str, LastGoodTier]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What one transaction changed. `new_prices`: price id → tier id."""

    change: Change | None
    new_prices: Mapping[str, str]


async def refresh(billing: Billing, lease: Lease, owner: str) -> None:
    """Bring one user's entitlement up to date, or keep it and retry later.

    While Stripe does not answer, a payer keeps the last tier. After `StoreUnavailable` the entitlement may be committed
    without its effects: the caller must request another refresh.
    """
    try:
        app = billing.apps.app(lease.app_id)
        # Only the fetch has a deadline: a commit could not be stopped.
        async with asyncio.timeout(FETCH_SECONDS):
            holdings = await _fetch(billing, lease)
        outcome = await billing.work.write(lambda tx: _commit(tx, billing.prices, app, lease, owner, holdings))
    except LeaseLostError:
        log.warning("refresh_lease_lost", extra=fields(app_id=lease.app_id, user_id=lease.user_id))
        return
    except StoreUnavailable:
        raise
    except Exception as exc:  # also an internal error: the other users are refreshed all the same
        await _retry_later(billing, lease, owner, exc)
        return
    _publish(billing.prices, lease, outcome)


async def _fetch(billing: Billing, lease: Lease) -> Holdings:
    known = await billing.work.read(lambda conn: customers.of_user(conn, lease.app_id, lease.user_id))
    holdings = await fetch_holdings(billing, known)
    prices_known = billing.prices.known_prices.get(lease.app_id, {})
    items = [item for subscription in holdings.subscriptions for item in subscription.items]
    if not billing.prices.complete and any(item.price_id not in prices_known for item in items):
        await resolve_prices(billing)  # otherwise a paid price would be unknown
    return replace(holdings, disputes=await fetch_answers(billing.work, billing.stripe, lease.app_id, lease.user_id))


def _commit(tx: Transaction, book: PriceBook, app: App, lease: Lease, owner: str, holdings: Holdings) -> _Outcome:
    """Decide and write everything. Raises `LeaseLostError`, which rolls it back, if the lease is lost."""
    conn, now = tx.conn, tx.now
    for customer_id in holdings.deleted_customers:
        customers.mark_deleted(conn, customer_id, now)
    record_answers(tx, holdings.disputes)
    concluded = conclude(conn, book, app, lease.user_id, holdings, now)
    decided, stored = concluded.decided, concluded.stored
    for price_id, (tier_id, lookup_key) in concluded.new_prices.items():
        prices.record(conn, price_id, app.app_id, tier_id, lookup_key, now)
    last_good.replace_all(conn, app.app_id, lease.user_id, concluded.last_good, now)
    new_tiers = {price_id: tier_id for price_id, (tier_id, _) in concluded.new_prices.items()}
    if not refreshes.finish(conn, lease, owner, now, _timer_at(decided, now)):
        raise LeaseLostError
    change = _save(tx, app, lease, stored, decided)
    raised = {(each.kind, each.subject) for each in decided.concerns}
    before = {(each.kind, each.subject) for each in stored.entitlement.concerns} if stored else set()
    tx.resolve_alerts([("refresh_failing", f"{lease.app_id}/{lease.user_id}"), *sorted(before - raised)])
    tx.open_alerts(decided.concerns)
    return _Outcome(change, new_tiers)


def _save(tx: Transaction, app: App, lease: Lease, stored: Stored | None, decided: Entitlement) -> Change | None:
    """Save entitlement and history; with a change also the provisioning job and the notice."""
    change = entitlements.save(tx.conn, lease.app_id, lease.user_id, decided, tx.now)
    if app.litellm is not None and (change is not None or stored is None):
        tx.provision(lease.app_id, lease.user_id)
    if change is not None:
        write_notice(tx, app, change)
    return change


def conclude(conn: Connection, book: PriceBook, app: App, user_id: str, holdings: Holdings, now: int) -> Conclusion:
    """What a refresh would store for this user, beside what is stored. Writes nothing."""
    known = book.known_tiers(app.app_id)
    new_prices = _new_prices(app, known, holdings.subscriptions)
    known |= {price_id: tier_id for price_id, (tier_id, _) in new_prices.items()}
    before = last_good.of_user(conn, app.app_id, user_id)
    gone = missing_subscriptions(before.values(), holdings.subscriptions, holdings.living_customers)
    subscriptions, invoices = (*holdings.subscriptions, *gone), holdings.invoices
    decided = decide(
        app,
        subscriptions,
        invoices,
        grants.live(conn, app.app_id, user_id, now),
        known,
        before,
        now,
        known_disputes(conn, app.app_id, user_id),
    )
    kept = updated_last_good_tiers(app, subscriptions, invoices, known, before, now)
    return Conclusion(decided, entitlements.get(conn, app.app_id, user_id), new_prices, kept)


def _publish(book: PriceBook, lease: Lease, outcome: _Outcome) -> None:
    """Remember and log what was committed."""
    book.add_known(lease.app_id, outcome.new_prices)
    change = outcome.change
    if change is not None:
        log.info(
            "tier_changed",
            extra=fields(
                app_id=lease.app_id,
                user_id=lease.user_id,
                reason=change.reason,
                **{"from": change.from_tier, "to": change.to_tier},
            ),
        )


def _new_prices(
    app: App, known: Mapping[str, str], subscriptions: Sequence[Subscription]
) -> dict[str, tuple[str, str | None]]:
    """Prices of these subscriptions that belong to a tier and are not stored: price id → (tier id, lookup key).

    They are stored because a lookup key can move to another price, and subscribers of the old price keep the tier.
    """
    by_lookup_key = {price.lookup_key: tier.tier_id for tier in app.tiers for price in tier.prices if price.lookup_key}
    by_id = {price.price_id: tier.tier_id for tier in app.tiers for price in tier.prices if price.price_id}
    found: dict[str, tuple[str, str | None]] = {}
    for item in (item for subscription in subscriptions for item in subscription.items):
        tier_id = by_id.get(item.price_id) or by_lookup_key.get(item.lookup_key or "")
        if tier_id and item.price_id not in known:
            found[item.price_id] = (tier_id, item.lookup_key)
    return found


def _timer_at(decided: Entitlement, now: int) -> int | None:
    """When to refresh without an event: just before the clock alone would change the tier."""
    if decided.until is None:
        # It should have ended, and Stripe does not report it yet.
        late = decided.ends_at is not None and decided.ends_at <= now and decided.status not in ENDED_STATUSES
        return now + LATE_SECONDS if late else None
    soon = decided.until - TIMER_LEAD_SECONDS
    # In the last seconds: right after the change.
    at = soon if soon > now else decided.until + 1
    return min(at, now + MAX_TIMER_SECONDS)


async def _retry_later(billing: Billing, lease: Lease, owner: str, exc: Exception) -> None:
    attempts, detail = lease.attempts + 1, describe(exc)
    log.warning(
        "refresh_deferred",
        extra=fields(app_id=lease.app_id, user_id=lease.user_id, attempts=attempts, detail=detail),
        exc_info=traceback_of(exc),
    )

    def job(tx: Transaction) -> _Outcome | None:
        outcome = _overdue(tx, billing.apps, lease, owner)
        step = next_step(REFRESH, classify(exc), attempts, tx.now)
        refreshes.fail(tx.conn, lease, owner, step.retry_at, detail)
        if step.alert:
            message = f"cannot be refreshed from Stripe, keeps the last tier: {detail}"
            tx.open_alert("refresh_failing", f"{lease.app_id}/{lease.user_id}", message)
        return outcome

    outcome = await billing.work.write(job)
    if outcome is not None:
        _publish(billing.prices, lease, outcome)


def _overdue(tx: Transaction, apps: InstalledApps, lease: Lease, owner: str) -> _Outcome | None:
    """Apply the changes of tier that became due while Stripe did not answer.

    A payer keeps the tier for 72 h longer (T20): the renewal may be paid at Stripe. A grant ends at its date.
    """
    app, now = apps.catalog.app(lease.app_id), tx.now
    stored = entitlements.get(tx.conn, lease.app_id, lease.user_id)
    if app is None or stored is None or not refreshes.holds(tx.conn, lease, owner, now):
        return None
    kept_seconds = 0 if stored.entitlement.source == "grant" else KEPT_SECONDS
    past = [tier_id for at, tier_id in stored.entitlement.upcoming_changes if at + kept_seconds <= now]
    if not past:
        return None
    ahead = stored.entitlement.upcoming_changes[len(past) :]
    source = stored.entitlement.source if past[-1] != app.default_tier.tier_id else "default"
    decided = replace(
        stored.entitlement, tier=past[-1], reason=Reason.UNCONFIRMED, source=source, upcoming_changes=ahead
    )
    return _Outcome(_save(tx, app, lease, stored, decided), {})
