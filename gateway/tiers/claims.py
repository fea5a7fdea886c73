"""What one subscription gives at an instant: a rank, until when, and why. Pure.

Stripe's status decides whether it gives anything (table below), its items' prices decide which tier. Where a payment is
missing, or something is unknown, the tier is what was paid last, read from Stripe's invoices; only where those do not
say it, the last good tier of the subscription counts. Nothing else of the past does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gateway.catalog.model import App
from gateway.tiers.model import (
    RUNNING,
    VANISHED,
    Concern,
    Entitlement,
    Invoice,
    Item,
    LastGood,
    Reason,
    Subscription,
)
from gateway.tiers.other_prices import has_only_other_prices, is_other_price
from gateway.tiers.payments import grace_starts_at, tier_paid_last, unpaid_since

# Stripe's status → (grants, the reason shown). past_due is decided by `_grace`, an unknown status by its payments.
STATUS: Mapping[str, tuple[bool, Reason]] = {
    "active": (True, Reason.ACTIVE),
    "trialing": (True, Reason.TRIALING),
    "incomplete": (False, Reason.NOT_PAID_YET),
    "incomplete_expired": (False, Reason.CANCELED),
    "unpaid": (False, Reason.UNPAID),
    "paused": (False, Reason.PAUSED),
    "canceled": (False, Reason.CANCELED),
}
RENEWAL_LATE_SECONDS = 86_400
"""How late Stripe may begin a new period before a tier that is only kept ends with the old one."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What one subscription or grant gives: a rank, until when (None: no end known), and why."""

    rank: int
    until: int | None
    entitlement: Entitlement


def subscription_claim(
    app: App,
    subscription: Subscription,
    invoices: Sequence[Invoice],
    known_prices: Mapping[str, str],
    good: LastGood | None,
    now: int,
) -> Claim:
    """`invoices` may be those of other subscriptions, too; `good` is the last good tier of this one."""
    own = [invoice for invoice in invoices if invoice.subscription_id == subscription.subscription_id]
    if subscription.status == VANISHED:
        return _of_vanished(app, subscription, good, now)
    if subscription.status not in STATUS and subscription.status != "past_due":
        return _of_unknown_status(app, subscription, own, known_prices, good, now)
    if subscription.status == "past_due":
        grants, reason, until = _grace(app, subscription, own, now)
    else:
        grants, reason = STATUS[subscription.status]
        until = subscription.ends_at
    if grants and subscription.pause_behavior == "void":
        grants, reason = False, Reason.PAUSED
    if not grants:
        return _claim(app, subscription, 0, reason, None)
    best = best_item(app, subscription, known_prices)
    if best is None:
        return _of_unknown_price(app, subscription, own, known_prices, good, now, until)
    rank, price_id = best[0], best[1].price_id
    if subscription.status == "past_due":
        paid = tier_paid_last(app, own, known_prices, good)
        if paid is not None and paid[0] < rank:  # an upgrade whose invoice is open is not in force
            rank, paid_price_id = paid
            if rank == 0:
                return _claim(app, subscription, 0, Reason.NEVER_PAID, None)
            price_id = paid_price_id or price_id
    claim = _claim(app, subscription, rank, reason, until, price_id=price_id)
    return _with_scheduled(app, subscription, claim, known_prices, now)


def needs_invoices(app: App, subscription: Subscription, known_prices: Mapping[str, str]) -> bool:
    """Whether what this subscription gives cannot be said without its invoices."""
    if subscription.over or subscription.status in ("incomplete", "unpaid", "paused"):
        return False
    if has_only_other_prices(app, subscription, known_prices):
        return False
    return subscription.status not in STATUS or best_item(app, subscription, known_prices) is None


def counts(
    app: App,
    subscription: Subscription,
    invoices: Sequence[Invoice],
    known_prices: Mapping[str, str],
    good: LastGood | None,
) -> bool:
    """Whether a subscription has to do with the tiers of `app`: it has a tier's price, or gave a tier before.

    That it did, its invoices say, or `good`, its last good tier. One with nothing but `other_prices` never counts.
    """
    if has_only_other_prices(app, subscription, known_prices):
        return False
    if good is not None or best_item(app, subscription, known_prices) is not None:
        return True
    own = [invoice for invoice in invoices if invoice.subscription_id == subscription.subscription_id]
    return (tier_paid_last(app, own, known_prices, good) or (0, None))[0] > 0


def best_item(app: App, subscription: Subscription, known_prices: Mapping[str, str]) -> tuple[int, Item] | None:
    """The best-ranked item that is a tier of this app; the others are add-ons. None if there is none."""
    ranked = [
        (tier.rank, item)
        for item in subscription.items
        if (tier_id := _tier_of_item(app, item, known_prices)) and (tier := app.tier(tier_id))
    ]
    return max(ranked, key=lambda pair: (pair[0], pair[1].price_id), default=None)


def _tier_of_item(app: App, item: Item, known_prices: Mapping[str, str]) -> str | None:
    if is_other_price(app, item, known_prices):
        return None
    if item.price_id in known_prices:
        return known_prices[item.price_id]
    for tier in app.tiers:
        for price in tier.prices:
            if price.price_id == item.price_id or (price.lookup_key and price.lookup_key == item.lookup_key):
                return tier.tier_id
    return known_prices.get(item.product_id or "")


def _grace(app: App, subscription: Subscription, own: Sequence[Invoice], now: int) -> tuple[bool, Reason, int | None]:
    """Grace counts from when a payment is missing, and is only for who paid something before."""
    since = grace_starts_at(subscription, own)
    if since is None:
        return False, Reason.NEVER_PAID, None
    until = _earliest(since + app.grace_seconds, subscription.ends_at)
    return (True, Reason.GRACE, until) if until is not None and until > now else (False, Reason.PAST_DUE_OVER, None)


def _of_unknown_price(
    app: App,
    subscription: Subscription,
    own: Sequence[Invoice],
    known_prices: Mapping[str, str],
    good: LastGood | None,
    now: int,
    until: int | None,
) -> Claim:
    """None of its prices is a tier's: what was paid last, or the last good tier, until the period has passed.

    While a good price is unchanged only grace or a cancellation ends it.
    """
    rank, price_id = tier_paid_last(app, own, known_prices, good) or (0, None)
    if not rank:
        rank, price_id = _rank_of_good(app, good)
    if rank and price_id not in {item.price_id for item in subscription.items}:
        until = _earliest(until, _late(subscription.period_end_at))
        rank = rank if until is None or until > now else 0
    unknown = [item for item in subscription.items if not is_other_price(app, item, known_prices)]
    prices = ", ".join(sorted(item.price_id for item in unknown))
    why = f"no tier of {app.app_id} has the price {prices}"
    return _kept(app, subscription, rank, until, price_id, "unknown_price", why)


def _of_unknown_status(
    app: App,
    subscription: Subscription,
    own: Sequence[Invoice],
    known_prices: Mapping[str, str],
    good: LastGood | None,
    now: int,
) -> Claim:
    """What was paid last, while nothing is owed for longer than the grace and the paid period goes on.

    Where nothing was paid (a trial), what it gave when its status was known.
    """
    rank, price_id = tier_paid_last(app, own, known_prices, good) or (0, None)
    until = subscription.ends_at
    if rank:
        since = unpaid_since(own)
        until = _earliest(until, _late(subscription.period_end_at) if since is None else since + app.grace_seconds)
    elif good is not None and good.gives:
        rank, price_id = _rank_of_good(app, good)
        if price_id not in {item.price_id for item in subscription.items}:
            until = _earliest(until, _late(subscription.period_end_at))
    rank = rank if until is None or until > now else 0
    why = f"Stripe's status is {subscription.status[:40]!r}"
    return _kept(app, subscription, rank, until, price_id, "unknown_status", why)


def _of_vanished(app: App, subscription: Subscription, good: LastGood | None, now: int) -> Claim:
    rank, price_id = _rank_of_good(app, good) if good and good.gives else (0, None)
    until = good.until_at if good else None
    rank = rank if until is None or until > now else 0
    why = "Stripe lists it no more, although its customer is there; ask Stripe, then grant or end the tier by hand"
    kept = _kept(app, subscription, rank, until, price_id, "subscription_vanished", why)
    return replace(kept, entitlement=replace(kept.entitlement, status=good.status if good else None))


def _rank_of_good(app: App, good: LastGood | None) -> tuple[int, str | None]:
    tier = app.tier(good.tier) if good else None
    return (tier.rank, good.price_id) if tier and good else (0, None)


def _kept(
    app: App, subscription: Subscription, rank: int, until: int | None, price_id: str | None, kind: str, why: str
) -> Claim:
    """A tier that is kept although something is unknown; nobody is raised by that."""
    concern = Concern(kind, subscription.subscription_id, f"{subscription.subscription_id}: {why}")
    claim = _claim(app, subscription, rank, Reason.KEPT, until if rank else None, price_id=price_id)
    return replace(claim, entitlement=replace(claim.entitlement, concerns=(concern,)))


def _claim(
    app: App, subscription: Subscription, rank: int, reason: Reason, until: int | None, *, price_id: str | None = None
) -> Claim:
    running = subscription.status in RUNNING
    return Claim(
        rank,
        until,
        Entitlement(
            tier=app.tiers[rank].tier_id,
            reason=reason,
            source="subscription" if rank else "default",
            status=subscription.status,
            customer_id=subscription.customer_id,
            subscription_id=subscription.subscription_id,
            price_id=price_id,
            ends_at=subscription.ends_at,
            period_end_at=None if subscription.over else subscription.period_end_at,
            renews=running and subscription.ends_at is None,
        ),
    )


def _with_scheduled(
    app: App, subscription: Subscription, claim: Claim, known_prices: Mapping[str, str], now: int
) -> Claim:
    """The claim, with the first change of tier that the subscription's schedule brings."""
    schedule = subscription.schedule
    if schedule is None:
        return claim
    phases = sorted(schedule.phases, key=lambda phase: phase.start_at)
    entitlement = replace(claim.entitlement, renews=claim.entitlement.renews and not (schedule.cancels and phases))
    for phase in phases:
        tiers = [app.tier(known_prices[price_id]) for price_id in phase.price_ids if price_id in known_prices]
        rank = max((tier.rank for tier in tiers if tier), default=claim.rank)
        if phase.start_at > now and rank != claim.rank:
            pending = replace(entitlement, pending_tier=app.tiers[rank].tier_id, pending_at=phase.start_at)
            return replace(claim, entitlement=pending)
    last_end_at = phases[-1].end_at if phases else None
    if schedule.cancels and last_end_at is not None:
        entitlement = replace(entitlement, pending_tier=app.default_tier.tier_id, pending_at=last_end_at)
    return replace(claim, entitlement=entitlement)


def _late(period_end_at: int | None) -> int | None:
    return None if period_end_at is None else period_end_at + RENEWAL_LATE_SECONDS


def _earliest(*instants: int | None) -> int | None:
    return min((at for at in instants if at is not None), default=None)
