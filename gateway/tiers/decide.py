"""The tier decision: what Stripe and the operator say now → one Entitlement. Pure.

The best of all subscriptions and grants wins. Something unknown to us neither raises nor cuts off: the last good tier
is kept, with a concern.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gateway.catalog.model import App
from gateway.tiers.claims import Claim, counts, subscription_claim
from gateway.tiers.contested import concerns as contested_concerns
from gateway.tiers.contested import reason_to_hold
from gateway.tiers.model import (
    OVER,
    RUNNING,
    Concern,
    Contested,
    Entitlement,
    Grant,
    Invoice,
    LastGood,
    Reason,
    Subscription,
)
from gateway.tiers.other_prices import has_only_other_prices

_FOR_EVER = 1 << 62


def decide(
    app: App,
    subscriptions: Sequence[Subscription],
    invoices: Sequence[Invoice],
    grants: Sequence[Grant],
    known_prices: Mapping[str, str],
    last_good: Mapping[str, LastGood],
    now: int,
    contested: Sequence[Contested] = (),
) -> Entitlement:
    """The best tier that any granting subscription or grant gives at `now`, why, and what the clock will change.

    `invoices`: all of those subscriptions that `needs_invoices` names, and of several that run at once.
    `known_prices`: price id → tier id of this app, for every price that ever was one of its tiers'; and product id →
    tier id where all of a product's prices are one tier's. `last_good`: subscription id → the last good tier that it
    gave, for what is unknown. `contested`: disputes, refunds and fraud warnings of this user's charges; they hold
    subscriptions back, never a grant.
    """
    of_tiers = [each for each in subscriptions if not has_only_other_prices(app, each, known_prices)]
    claims = [
        _unless_held(
            app,
            each,
            subscription_claim(app, each, invoices, known_prices, last_good.get(each.subscription_id), now),
            contested,
            now,
        )
        for each in of_tiers
    ]
    claims += [claim for grant in grants if (claim := _grant_claim(app, grant, now))]
    concerns = tuple(concern for claim in claims for concern in claim.entitlement.concerns)
    counted = [
        each for each in of_tiers if counts(app, each, invoices, known_prices, last_good.get(each.subscription_id))
    ]
    concerns += _duplicates(counted, invoices) + contested_concerns(app, subscriptions, contested, now)
    best = max(claims, key=_merit, default=None)
    if best is None:
        return Entitlement(tier=app.default_tier.tier_id, reason=Reason.DEFAULT, source="default", concerns=concerns)
    return replace(best.entitlement, then=_then(app, claims, now), concerns=concerns)


def _merit(claim: Claim) -> tuple[int, bool, bool, int]:
    """The best rank first, then what is paid before what was given, what is not over, and what lasts longest.

    Stripe lists the newest subscription first, and the first of equals is taken.
    """
    over = claim.entitlement.status in OVER
    return (
        claim.rank,
        claim.entitlement.source == "subscription",
        not over,
        _FOR_EVER if claim.until is None else claim.until,
    )


def _then(app: App, claims: Sequence[Claim], now: int) -> tuple[tuple[int, str], ...]:
    """Each future instant at which a claim ends by the clock alone, with the best tier left from then on."""
    changes: list[tuple[int, str]] = []
    rank = max((claim.rank for claim in claims), default=0)
    for instant in sorted({claim.until for claim in claims if claim.until is not None and claim.until > now}):
        left = max((c.rank for c in claims if c.until is None or c.until > instant), default=0)
        if left < rank:
            changes.append((instant, app.tiers[left].tier_id))
            rank = left
    return tuple(changes)


def _grant_claim(app: App, grant: Grant, now: int) -> Claim | None:
    tier = app.tier(grant.tier)
    if tier is None or (grant.until_at is not None and grant.until_at <= now):
        return None
    return Claim(tier.rank, grant.until_at, Entitlement(tier=tier.tier_id, reason=Reason.GRANT, source="grant"))


def _unless_held(app: App, subscription: Subscription, claim: Claim, contested: Sequence[Contested], now: int) -> Claim:
    """The claim, or the first tier for as long as its money is contested."""
    reason = reason_to_hold(app, subscription, contested, now) if claim.rank else None
    if reason is None:
        return claim
    held = replace(claim.entitlement, tier=app.default_tier.tier_id, reason=reason, source="default")
    return Claim(0, None, held)


def _duplicates(subscriptions: Sequence[Subscription], invoices: Sequence[Invoice]) -> tuple[Concern, ...]:
    """Paid for more than once: the newest is the one to give back, because everything else hangs on the oldest.

    Unless one is about to end by itself while another is healthy: then that is the one to cancel, or nothing is left.
    """
    running = sorted(
        (each for each in subscriptions if each.status in RUNNING),
        key=lambda each: (each.created_at, each.subscription_id),
    )
    if len(running) < 2:
        return ()
    ids = ", ".join(each.subscription_id for each in running)
    message = f"pays for {len(running)} subscriptions at once, the oldest first: {ids}; cancel "
    healthy = [each.subscription_id for each in running if not _is_ailing(each)]
    ailing = ", ".join(each.subscription_id for each in running if _is_ailing(each))
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


def _is_ailing(subscription: Subscription) -> bool:
    ending = subscription.ends_at is not None
    return subscription.status == "past_due" or subscription.pause_behavior == "void" or ending
