"""The tier that one subscription gives at an instant, until when, and why. Pure.

Stripe's status decides whether it gives a tier (table below), its items' prices decide which one. Where a payment is
missing, or a price or status is unknown, the tier is the one that was paid last, read from the invoices, or else the
last good tier of the subscription. No other earlier state is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gateway.catalog.model import App
from gateway.tiers.model import (
    NO_LONGER_LISTED,
    RUNNING_STATUSES,
    Concern,
    Entitlement,
    Invoice,
    Item,
    LastGoodTier,
    Reason,
    Subscription,
)
from gateway.tiers.other_prices import has_only_other_prices, is_other_price
from gateway.tiers.payments import grace_starts_at, tier_paid_last, unpaid_since

# Stripe's status → (grants, the reason shown). past_due is decided by `_grace`, an unknown status by its payments.
STATUS_RULES: Mapping[str, tuple[bool, Reason]] = {
    "active": (True, Reason.ACTIVE),
    "trialing": (True, Reason.TRIALING),
    "incomplete": (False, Reason.NOT_PAID_YET),
    "incomplete_expired": (False, Reason.CANCELED),
    "unpaid": (False, Reason.UNPAID),
    "paused": (False, Reason.PAUSED),
    "canceled": (False, Reason.CANCELED),
}
RENEWAL_TOLERANCE_SECONDS = 86_400
"""How late Stripe may start a new period before a kept tier ends with the old one."""


@dataclass(frozen=True, slots=True)
class TierCandidate:
    """What one subscription or grant gives: a rank, until when (None: no end known), and why."""

    rank: int
    until: int | None
    entitlement: Entitlement


def subscription_candidate(
    app: App,
    subscription: Subscription,
    invoices: Sequence[Invoice],
    known_prices: Mapping[str, str],
    last_tier: LastGoodTier | None,
    now: int,
) -> TierCandidate:
    """`invoices` may include those of other subscriptions; `last_tier` is the last good tier of this one."""
    own = [invoice for invoice in invoices if invoice.subscription_id == subscription.subscription_id]
    if subscription.status == NO_LONGER_LISTED:
        return _of_missing(app, subscription, last_tier, now)
    if subscription.status not in STATUS_RULES and subscription.status != "past_due":
        return _of_unknown_status(app, subscription, own, known_prices, last_tier, now)
    if subscription.status == "past_due":
        grants, reason, until = _grace(app, subscription, own, now)
    else:
        grants, reason = STATUS_RULES[subscription.status]
        until = subscription.ends_at
    if grants and subscription.pause_behavior == "void":
        grants, reason = False, Reason.PAUSED
    if not grants:
        return _candidate(app, subscription, 0, reason, None)
    best = best_item(app, subscription, known_prices)
    if best is None:
        return _of_unknown_price(app, subscription, own, known_prices, last_tier, now, until)
    rank, price_id = best[0], best[1].price_id
    if subscription.status == "past_due":
        paid = tier_paid_last(app, own, known_prices, last_tier)
        if paid is not None and paid[0] < rank:  # an upgrade whose invoice is open is not in force
            rank, paid_price_id = paid
            if rank == 0:
                return _candidate(app, subscription, 0, Reason.NEVER_PAID, None)
            price_id = paid_price_id or price_id
    candidate = _candidate(app, subscription, rank, reason, until, price_id=price_id)
    return _with_scheduled(app, subscription, candidate, known_prices, now)


def needs_invoices(app: App, subscription: Subscription, known_prices: Mapping[str, str]) -> bool:
    """Whether the tier of this subscription cannot be decided without its invoices."""
    if subscription.has_ended or subscription.status in ("incomplete", "unpaid", "paused"):
        return False
    if has_only_other_prices(app, subscription, known_prices):
        return False
    return subscription.status not in STATUS_RULES or best_item(app, subscription, known_prices) is None


def is_tier_subscription(
    app: App,
    subscription: Subscription,
    invoices: Sequence[Invoice],
    known_prices: Mapping[str, str],
    last_tier: LastGoodTier | None,
) -> bool:
    """Whether a subscription belongs to a tier of `app`: it has a tier's price, or gave a tier before.

    The latter is known from its invoices or its last good tier. One with only `other_prices` never counts.
    """
    if has_only_other_prices(app, subscription, known_prices):
        return False
    if last_tier is not None or best_item(app, subscription, known_prices) is not None:
        return True
    own = [invoice for invoice in invoices if invoice.subscription_id == subscription.subscription_id]
    return (tier_paid_last(app, own, known_prices, last_tier) or (0, None))[0] > 0


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
    """Grace starts when a payment is missing, and only if something was paid before."""
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
    last_tier: LastGoodTier | None,
    now: int,
    until: int | None,
) -> TierCandidate:
    """No item has a tier's price: the tier that was paid last, or the last good tier, until the period ends.

    While the subscription still has that price, only grace or a cancellation ends it.
    """
    rank, price_id = tier_paid_last(app, own, known_prices, last_tier) or (0, None)
    if not rank:
        rank, price_id = _rank_of_last_tier(app, last_tier)
    if rank and price_id not in {item.price_id for item in subscription.items}:
        until = _earliest(until, _with_renewal_tolerance(subscription.period_end_at))
        rank = rank if until is None or until > now else 0
    unknown = [item for item in subscription.items if not is_other_price(app, item, known_prices)]
    prices = ", ".join(sorted(item.price_id for item in unknown))
    why = f"no tier of {app.app_id} has the price {prices}"
    return _keep_last_tier(app, subscription, rank, until, price_id, "unknown_price", why)


def _of_unknown_status(
    app: App,
    subscription: Subscription,
    own: Sequence[Invoice],
    known_prices: Mapping[str, str],
    last_tier: LastGoodTier | None,
    now: int,
) -> TierCandidate:
    """The tier that was paid last, until the paid period or the grace for a missing payment ends.

    Where nothing was paid (a trial), the tier that it gave while its status was known.
    """
    rank, price_id = tier_paid_last(app, own, known_prices, last_tier) or (0, None)
    until = subscription.ends_at
    if rank:
        since = unpaid_since(own)
        until = _earliest(
            until, _with_renewal_tolerance(subscription.period_end_at) if since is None else since + app.grace_seconds
        )
    elif last_tier is not None and last_tier.gives:
        rank, price_id = _rank_of_last_tier(app, last_tier)
        if price_id not in {item.price_id for item in subscription.items}:
            until = _earliest(until, _with_renewal_tolerance(subscription.period_end_at))
    rank = rank if until is None or until > now else 0
    why = f"Stripe's status is {subscription.status[:40]!r}"
    return _keep_last_tier(app, subscription, rank, until, price_id, "unknown_status", why)


def _of_missing(app: App, subscription: Subscription, last_tier: LastGoodTier | None, now: int) -> TierCandidate:
    rank, price_id = _rank_of_last_tier(app, last_tier) if last_tier and last_tier.gives else (0, None)
    until = last_tier.until_at if last_tier else None
    rank = rank if until is None or until > now else 0
    why = "Stripe no longer lists it although its customer exists; ask Stripe, then grant or end the tier by hand"
    kept = _keep_last_tier(app, subscription, rank, until, price_id, "subscription_missing", why)
    return replace(kept, entitlement=replace(kept.entitlement, status=last_tier.status if last_tier else None))


def _rank_of_last_tier(app: App, last_tier: LastGoodTier | None) -> tuple[int, str | None]:
    tier = app.tier(last_tier.tier) if last_tier else None
    return (tier.rank, last_tier.price_id) if tier and last_tier else (0, None)


def _keep_last_tier(
    app: App, subscription: Subscription, rank: int, until: int | None, price_id: str | None, kind: str, why: str
) -> TierCandidate:
    """A tier that is kept although a price or status is unknown, with a concern."""
    concern = Concern(kind, subscription.subscription_id, f"{subscription.subscription_id}: {why}")
    candidate = _candidate(app, subscription, rank, Reason.KEPT, until if rank else None, price_id=price_id)
    return replace(candidate, entitlement=replace(candidate.entitlement, concerns=(concern,)))


def _candidate(
    app: App, subscription: Subscription, rank: int, reason: Reason, until: int | None, *, price_id: str | None = None
) -> TierCandidate:
    running = subscription.status in RUNNING_STATUSES
    return TierCandidate(
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
            period_end_at=None if subscription.has_ended else subscription.period_end_at,
            renews=running and subscription.ends_at is None,
        ),
    )


def _with_scheduled(
    app: App, subscription: Subscription, candidate: TierCandidate, known_prices: Mapping[str, str], now: int
) -> TierCandidate:
    """The candidate, with the first change of tier that the subscription's schedule brings."""
    schedule = subscription.schedule
    if schedule is None:
        return candidate
    phases = sorted(schedule.phases, key=lambda phase: phase.start_at)
    entitlement = replace(
        candidate.entitlement, renews=candidate.entitlement.renews and not (schedule.cancels and phases)
    )
    for phase in phases:
        tiers = [app.tier(known_prices[price_id]) for price_id in phase.price_ids if price_id in known_prices]
        rank = max((tier.rank for tier in tiers if tier), default=candidate.rank)
        if phase.start_at > now and rank != candidate.rank:
            pending = replace(entitlement, pending_tier=app.tiers[rank].tier_id, pending_at=phase.start_at)
            return replace(candidate, entitlement=pending)
    last_end_at = phases[-1].end_at if phases else None
    if schedule.cancels and last_end_at is not None:
        entitlement = replace(entitlement, pending_tier=app.default_tier.tier_id, pending_at=last_end_at)
    return replace(candidate, entitlement=entitlement)


def _with_renewal_tolerance(period_end_at: int | None) -> int | None:
    return None if period_end_at is None else period_end_at + RENEWAL_TOLERANCE_SECONDS


def _earliest(*instants: int | None) -> int | None:
    return min((at for at in instants if at is not None), default=None)
