"""The tier decision: what Stripe and the operator say now → one Entitlement. Pure.

Stripe's status decides whether a subscription grants (table below); its items' prices decide which tier. The best
of all that grant wins. Something unknown to us neither raises nor cuts off: the last good tier is kept, with a concern.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gateway.catalog.model import App
from gateway.tiers.contested import HELD, reason_to_hold
from gateway.tiers.contested import concerns as contested_concerns
from gateway.tiers.model import (
    OVER,
    RUNNING,
    Concern,
    Contested,
    Entitlement,
    Grant,
    Invoice,
    Item,
    Reason,
    Subscription,
)
from gateway.tiers.vanished import VANISHED

# Stripe's status → (grants, the reason shown). past_due is decided by `_past_due`, an unknown status by `_kept`.
STATUS: Mapping[str, tuple[bool, Reason]] = {
    "active": (True, Reason.ACTIVE),
    "trialing": (True, Reason.TRIALING),
    "incomplete": (False, Reason.NOT_PAID_YET),
    "incomplete_expired": (False, Reason.CANCELED),
    "unpaid": (False, Reason.UNPAID),
    "paused": (False, Reason.PAUSED),
    "canceled": (False, Reason.CANCELED),
}
_FOR_EVER = 1 << 62


@dataclass(frozen=True, slots=True)
class _Claim:
    """What one subscription or grant gives: a rank, until when (None: no end known), and why."""

    rank: int
    until: int | None
    entitlement: Entitlement


def decide(
    app: App,
    subscriptions: Sequence[Subscription],
    invoices: Sequence[Invoice],
    grants: Sequence[Grant],
    known_prices: Mapping[str, str],
    previous: Entitlement | None,
    now: int,
    contested: Sequence[Contested] = (),
) -> Entitlement:
    """The best tier that any granting subscription or grant gives at `now`, why, and what the clock will change.

    `invoices`: open and paid ones of past_due subscriptions, and of several that run at once. `known_prices`: price
    id → tier id of this app, for every price that ever was one of its tiers'; and product id → tier id where all of a
    product's prices are one tier's. `previous`: the last decision, which what is unknown falls back to. `contested`:
    disputes, refunds and fraud warnings of this user's charges; they hold subscriptions back, never a grant.
    """
    claims = [
        _unless_held(app, each, _subscription_claim(app, each, invoices, known_prices, previous, now), contested, now)
        for each in subscriptions
    ]
    claims += [claim for grant in grants if (claim := _grant_claim(app, grant, now))]
    concerns = tuple(concern for claim in claims for concern in claim.entitlement.concerns)
    concerns += _duplicates(subscriptions, invoices) + contested_concerns(app, subscriptions, contested, now)
    best = max(claims, key=_merit, default=None)
    if best is None:
        return Entitlement(tier=app.default_tier.tier_id, reason=Reason.DEFAULT, source="default", concerns=concerns)
    return replace(best.entitlement, then=_then(app, claims, now), concerns=concerns)


def _merit(claim: _Claim) -> tuple[int, bool, bool, int]:
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


def _then(app: App, claims: Sequence[_Claim], now: int) -> tuple[tuple[int, str], ...]:
    """Each future instant at which a claim ends by the clock alone, with the best tier left from then on."""
    changes: list[tuple[int, str]] = []
    rank = max((claim.rank for claim in claims), default=0)
    for instant in sorted({claim.until for claim in claims if claim.until is not None and claim.until > now}):
        left = max((c.rank for c in claims if c.until is None or c.until > instant), default=0)
        if left < rank:
            changes.append((instant, app.tiers[left].tier_id))
            rank = left
    return tuple(changes)


def _grant_claim(app: App, grant: Grant, now: int) -> _Claim | None:
    tier = app.tier(grant.tier)
    if tier is None or (grant.until_at is not None and grant.until_at <= now):
        return None
    return _Claim(tier.rank, grant.until_at, Entitlement(tier=tier.tier_id, reason=Reason.GRANT, source="grant"))


def _subscription_claim(
    app: App,
    subscription: Subscription,
    invoices: Sequence[Invoice],
    known_prices: Mapping[str, str],
    previous: Entitlement | None,
    now: int,
) -> _Claim:
    if subscription.status == VANISHED:
        why = "Stripe lists it no more, although its customer is there; ask Stripe, then grant or end the tier by hand"
        kept = _kept(app, subscription, previous, now, "subscription_vanished", why)
        return replace(kept, entitlement=replace(kept.entitlement, status=previous.status if previous else None))
    if subscription.status not in STATUS and subscription.status != "past_due":
        return _kept(
            app, subscription, previous, now, "unknown_status", f"Stripe's status is {subscription.status[:40]!r}"
        )
    own = [invoice for invoice in invoices if invoice.subscription_id == subscription.subscription_id]
    if subscription.status == "past_due":
        grants, reason, until = _past_due(app, own, now)
    else:
        grants, reason = STATUS[subscription.status]
        until = subscription.ends_at
    if grants and subscription.pause_behavior == "void":
        grants, reason = False, Reason.PAUSED
    if not grants:
        return _claim(app, subscription, 0, reason, None)
    best = _best_item(app, subscription, known_prices)
    if best is None:
        prices = ", ".join(sorted(item.price_id for item in subscription.items))
        kept = _kept(
            app, subscription, previous, now, "unknown_price", f"no tier of {app.app_id} has the price {prices}"
        )
        # Neither grace nor a cancellation lasts any longer for that.
        return replace(kept, until=min((at for at in (kept.until, until) if at is not None), default=None))
    rank, item = best
    if subscription.status == "past_due":
        rank = min(rank, _rank_before(app, subscription, previous, rank), _rank_paid(app, own, known_prices, rank))
    return _claim(app, subscription, rank, reason, until, price_id=item.price_id)


def _unless_held(
    app: App, subscription: Subscription, claim: _Claim, contested: Sequence[Contested], now: int
) -> _Claim:
    """The claim, or the first tier for as long as its money is contested."""
    reason = reason_to_hold(app, subscription, contested, now) if claim.rank else None
    if reason is None:
        return claim
    held = replace(claim.entitlement, tier=app.default_tier.tier_id, reason=reason, source="default")
    return _Claim(0, None, held)


def _past_due(app: App, own: Sequence[Invoice], now: int) -> tuple[bool, Reason, int | None]:
    """Grace counts from the oldest open invoice's first attempt, and only for who paid something before."""
    if not any(invoice.status == "paid" and invoice.amount_paid > 0 for invoice in own):
        return False, Reason.NEVER_PAID, None
    attempts = [each.first_attempt_at for each in own if each.status == "open" and each.first_attempt_at is not None]
    if not attempts:  # past_due without a failed attempt on an open invoice: nothing to count from, so nothing is over
        return True, Reason.GRACE, None
    until = min(attempts) + app.grace_seconds
    return (True, Reason.GRACE, until) if until > now else (False, Reason.PAST_DUE_OVER, None)


def _rank_before(app: App, subscription: Subscription, previous: Entitlement | None, otherwise: int) -> int:
    """past_due never raises: at most the tier this subscription gave before it was held, if it was."""
    if previous is None or previous.subscription_id != subscription.subscription_id or previous.reason in HELD:
        return otherwise
    tier = app.tier(previous.tier)
    return tier.rank if tier else otherwise


def _rank_paid(app: App, invoices: Sequence[Invoice], known_prices: Mapping[str, str], otherwise: int) -> int:
    """The tier of what was paid last: an upgrade whose invoice is open is not in force."""
    paid = [invoice for invoice in invoices if invoice.status == "paid" and invoice.amount_paid > 0]
    newest = max(paid, key=lambda invoice: invoice.created_at, default=None)
    tiers = (
        [app.tier(known_prices[price_id]) for price_id in newest.price_ids if price_id in known_prices]
        if newest
        else []
    )
    return max((tier.rank for tier in tiers if tier), default=otherwise)


def _best_item(app: App, subscription: Subscription, known_prices: Mapping[str, str]) -> tuple[int, Item] | None:
    """The best-ranked item that is a tier of this app; the others are add-ons. None if there is none."""
    ranked = [
        (tier.rank, item)
        for item in subscription.items
        if (tier_id := _tier_of_item(app, item, known_prices)) and (tier := app.tier(tier_id))
    ]
    return max(ranked, key=lambda pair: (pair[0], pair[1].price_id), default=None)


def _tier_of_item(app: App, item: Item, known_prices: Mapping[str, str]) -> str | None:
    if item.price_id in known_prices:
        return known_prices[item.price_id]
    for tier in app.tiers:
        for price in tier.prices:
            if price.price_id == item.price_id or (price.lookup_key and price.lookup_key == item.lookup_key):
                return tier.tier_id
    return known_prices.get(item.product_id or "")


def _kept(app: App, subscription: Subscription, previous: Entitlement | None, now: int, kind: str, why: str) -> _Claim:
    """The last good tier of this very subscription, if there was one; nobody is raised by what we do not know."""
    rank, until = 0, None
    same = previous is not None and previous.subscription_id == subscription.subscription_id
    if same and previous is not None and (tier := app.tier(previous.tier)) and tier.rank:
        rank = tier.rank
        if previous.price_id not in {item.price_id for item in subscription.items}:
            until = subscription.period_end_at
            rank = rank if until is None or until > now else 0
    concern = Concern(kind, subscription.subscription_id, f"{subscription.subscription_id}: {why}")
    claim = _claim(
        app, subscription, rank, Reason.KEPT, until, price_id=previous.price_id if same and previous else None
    )
    return replace(claim, entitlement=replace(claim.entitlement, concerns=(concern,)))


def _claim(
    app: App, subscription: Subscription, rank: int, reason: Reason, until: int | None, *, price_id: str | None = None
) -> _Claim:
    return _Claim(
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
        ),
    )


def _duplicates(subscriptions: Sequence[Subscription], invoices: Sequence[Invoice]) -> tuple[Concern, ...]:
    """Paid for more than once: the newest is the one to give back, because everything else hangs on the oldest."""
    running = sorted(
        (each for each in subscriptions if each.status in RUNNING),
        key=lambda each: (each.created_at, each.subscription_id),
    )
    if len(running) < 2:
        return ()
    ids = ", ".join(each.subscription_id for each in running)
    newest = running[-1].subscription_id
    message = f"pays for {len(running)} subscriptions at once, the oldest first: {ids}; cancel {newest}"
    paid = [each for each in invoices if each.subscription_id == newest and each.status == "paid" and each.amount_paid]
    last = max(paid, key=lambda each: each.created_at, default=None)
    if last is not None:
        message += f" and refund {last.invoice_id}, {last.amount_paid} {last.currency} (minor units)"
    return (Concern("duplicate_subscription", min(each.subscription_id for each in running), message),)
