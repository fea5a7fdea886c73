"""The tier decision: subscriptions, disputes and grants → one Entitlement. Pure.

The best of all subscriptions and grants wins. An unknown price or status neither raises nor lowers the tier: the last
good tier is kept, with a concern.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gateway.catalog.model import App
from gateway.tiers.candidates import TierCandidate, is_tier_subscription, subscription_candidate
from gateway.tiers.disputes import dispute_concerns, hold_reason
from gateway.tiers.model import (
    ENDED_STATUSES,
    RUNNING_STATUSES,
    Concern,
    DisputeOrRefund,
    Entitlement,
    Grant,
    Invoice,
    LastGoodTier,
    Reason,
    Subscription,
)
from gateway.tiers.other_prices import has_only_other_prices

_NO_END = 1 << 62


def decide(
    app: App,
    subscriptions: Sequence[Subscription],
    invoices: Sequence[Invoice],
    grants: Sequence[Grant],
    known_prices: Mapping[str, str],
    last_good: Mapping[str, LastGoodTier],
    now: int,
    disputes: Sequence[DisputeOrRefund] = (),
) -> Entitlement:
    """The best tier that any granting subscription or grant gives at `now`, why, and what the clock will change.

    `invoices`: all of those subscriptions that `needs_invoices` names, and of several that run at once.
    `known_prices`: price id → tier id of this app, for every price that ever was one of its tiers'; and product id →
    tier id where all of a product's prices are one tier's. `last_good`: subscription id → the last good tier that it
    gave, for what is unknown. `disputes`: disputes, refunds and fraud warnings of this user's charges; they
    affect subscriptions, never grants.
    """
    of_tiers = [each for each in subscriptions if not has_only_other_prices(app, each, known_prices)]
    candidates = []
    for each in of_tiers:
        last_tier = last_good.get(each.subscription_id)
        found = subscription_candidate(app, each, invoices, known_prices, last_tier, now)
        candidates.append(_with_hold(app, each, found, disputes, now))
    candidates += [candidate for grant in grants if (candidate := _grant_candidate(app, grant, now))]
    concerns = tuple(concern for candidate in candidates for concern in candidate.entitlement.concerns)
    counted = [
        each
        for each in of_tiers
        if is_tier_subscription(app, each, invoices, known_prices, last_good.get(each.subscription_id))
    ]
    concerns += _duplicates(counted, invoices) + dispute_concerns(app, subscriptions, disputes, now)
    best = max(candidates, key=_sort_key, default=None)
    if best is None:
        return Entitlement(tier=app.default_tier.tier_id, reason=Reason.DEFAULT, source="default", concerns=concerns)
    return replace(best.entitlement, upcoming_changes=_upcoming_changes(app, candidates, now), concerns=concerns)


def _sort_key(candidate: TierCandidate) -> tuple[int, bool, bool, int]:
    """By rank, then subscriptions before grants, then those that have not ended, then the longest.

    Among equals the newest subscription wins, because Stripe lists it first.
    """
    over = candidate.entitlement.status in ENDED_STATUSES
    return (
        candidate.rank,
        candidate.entitlement.source == "subscription",
        not over,
        _NO_END if candidate.until is None else candidate.until,
    )


def _upcoming_changes(app: App, candidates: Sequence[TierCandidate], now: int) -> tuple[tuple[int, str], ...]:
    """Each future instant at which a candidate expires, with the best tier that is left from then on."""
    changes: list[tuple[int, str]] = []
    rank = max((candidate.rank for candidate in candidates), default=0)
    for instant in sorted(
        {candidate.until for candidate in candidates if candidate.until is not None and candidate.until > now}
    ):
        left = max((c.rank for c in candidates if c.until is None or c.until > instant), default=0)
        if left < rank:
            changes.append((instant, app.tiers[left].tier_id))
            rank = left
    return tuple(changes)


def _grant_candidate(app: App, grant: Grant, now: int) -> TierCandidate | None:
    tier = app.tier(grant.tier)
    if tier is None or (grant.until_at is not None and grant.until_at <= now):
        return None
    return TierCandidate(tier.rank, grant.until_at, Entitlement(tier=tier.tier_id, reason=Reason.GRANT, source="grant"))


def _with_hold(
    app: App, subscription: Subscription, candidate: TierCandidate, disputes: Sequence[DisputeOrRefund], now: int
) -> TierCandidate:
    """The candidate, or the first tier while a dispute or refund holds the subscription."""
    reason = hold_reason(app, subscription, disputes, now) if candidate.rank else None
    if reason is None:
        return candidate
    first_tier = replace(candidate.entitlement, tier=app.default_tier.tier_id, reason=reason, source="default")
    return TierCandidate(0, None, first_tier)


def _duplicates(subscriptions: Sequence[Subscription], invoices: Sequence[Invoice]) -> tuple[Concern, ...]:
    """A concern if several subscriptions run at once. It names the one to cancel and refund: the newest.

    Where some are past due, paused or about to end while others are healthy, it names those instead.
    """
    running = sorted(
        (each for each in subscriptions if each.status in RUNNING_STATUSES),
        key=lambda each: (each.created_at, each.subscription_id),
    )
    if len(running) < 2:
        return ()
    ids = ", ".join(each.subscription_id for each in running)
    message = f"pays for {len(running)} subscriptions at once, the oldest first: {ids}; cancel "
    healthy = [each.subscription_id for each in running if not _is_at_risk(each)]
    ailing = ", ".join(each.subscription_id for each in running if _is_at_risk(each))
    subject = min(each.subscription_id for each in running)
    if ailing and healthy:
        message += f"{ailing}, which is past due, paused or about to end, and keep {healthy[0]}"
        return (Concern("duplicate_subscription", subject, message),)
    newest = running[-1].subscription_id
    message += newest
    paid = [each for each in invoices if each.subscription_id == newest and each.status == "paid" and each.amount_paid]
    last = max(paid, key=lambda each: each.created_at, default=None)
    if last is not None:
        message += f" and refund {last.invoice_id}, {last.amount_paid} {last.currency} (minor units)"
    return (Concern("duplicate_subscription", subject, message),)


def _is_at_risk(subscription: Subscription) -> bool:
    ending = subscription.ends_at is not None
    return subscription.status == "past_due" or subscription.pause_behavior == "void" or ending
