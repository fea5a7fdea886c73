"""Moves a user to another id of the same app: customers, keys, grants, tier and limits."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.billing.checkout.checkout import running_subscription, withdraw
from gateway.billing.checkout.customer import mark_deleted
from gateway.billing.context import Billing
from gateway.billing.notify.notices import write_notice
from gateway.billing.refresh.holdings import fetch_holdings
from gateway.billing.refresh.status import default_entitlement
from gateway.billing.work.refusals import alert_refusals
from gateway.billing.work.transaction import Transaction
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.catalog.model import App
from gateway.errors import Conflict, InvalidInput, NotFound
from gateway.log import fields
from gateway.store import customers, entitlements, keys, moving, refreshes
from gateway.store.customers import Customer
from gateway.stripe.errors import StripeNotFound
from gateway.stripe.ownership import signed_metadata
from gateway.tiers.model import Entitlement
from gateway.user_ids import check_user_id

log = logging.getLogger(__name__)

_OF_A_USER = ("refresh_failing", "checkout_refused", "portal_refused", "currency_mismatch")
"""Alerts about a user id that only a success of that id resolves."""


@dataclass(frozen=True, slots=True)
class UserMoveResult:
    """What the new id has after the move."""

    tier: str
    customers: tuple[str, ...]
    keys: int


async def move(billing: Billing, app_id: str, from_user_id: str, to_user_id: str) -> UserMoveResult:
    """Move everything of one user to another id of the same app. The new id has the tier at once.

    Repeatable after a failure. LiteLLM cannot rename users: the new id gets the tier's limits, the old one those of
    the first tier. Raises `NotFound`, `InvalidInput`, `Conflict` when both pay, `UpstreamFailed`.
    """
    app = billing.apps.app(app_id)
    for user_id in (from_user_id, to_user_id):
        check_user_id(user_id)
    if from_user_id == to_user_id:
        raise InvalidInput("FROM and TO are the same user id.")
    first, second = sorted((from_user_id, to_user_id))
    subject = f"{app_id}/{from_user_id}"
    async with billing.locks.of(app_id, first), billing.locks.of(app_id, second):
        async with alert_refusals(billing.work, "users_move_refused", subject):
            known = await _movable(billing, app, from_user_id, to_user_id)
            for user_id in (from_user_id, to_user_id):
                await withdraw(billing.work, billing.stripe, app_id, user_id)
            await _sign(billing, app_id, to_user_id, known)
        moved = await billing.work.write(lambda tx: _move(tx, app, from_user_id, to_user_id))
    log.info("user_moved", extra=fields(app_id=app_id, user_id=from_user_id, to_user_id=to_user_id))
    return moved


async def _movable(billing: Billing, app: App, from_user_id: str, to_user_id: str) -> list[Customer]:
    """The customers to move. Raises `NotFound` if there is nothing of this user, `Conflict` if both pay."""
    if not await billing.work.read(lambda conn: moving.has_rows(conn, app.app_id, from_user_id)):
        raise NotFound(
            f"{app.app_id} has no customer, key or grant of {from_user_id[:80]!r}: there is nothing to move.",
            code="unknown_user",
        )
    known = await _customers(billing.work, app.app_id, from_user_id)
    paying = []
    for user_id, theirs in (
        (from_user_id, known),
        (to_user_id, await _customers(billing.work, app.app_id, to_user_id)),
    ):
        running = await running_subscription(billing, app, user_id, await fetch_holdings(billing, theirs))
        paying += [f"{user_id[:80]!r} ({running.subscription_id})"] if running is not None else []
    if len(paying) == 2:
        raise Conflict(f"Both pay: {' and '.join(paying)}. Cancel one of the two first.", code="both_pay")
    return known


async def _customers(work: UnitOfWork, app_id: str, user_id: str) -> list[Customer]:
    return await work.read(lambda conn: customers.of_user(conn, app_id, user_id))


async def _sign(billing: Billing, app_id: str, to_user_id: str, known: Sequence[Customer]) -> None:
    """Sign the customers at Stripe for the new id, so that a lost database is rebuilt with it."""
    metadata = signed_metadata(billing.account.signing_keys, app_id, to_user_id)
    for customer in known:
        try:
            await billing.stripe.customers.set_metadata(customer.customer_id, metadata)
        except StripeNotFound:
            if not await billing.stripe.customers.is_deleted(customer.customer_id):
                raise
            await mark_deleted(billing.work, customer.customer_id)


def _move(tx: Transaction, app: App, from_user_id: str, to_user_id: str) -> UserMoveResult:
    """All in one transaction. The tier is moved too, so that a payer has it even while Stripe does not answer."""
    conn, now, app_id = tx.conn, tx.now, app.app_id
    before = {each: entitlements.get(conn, app_id, each) for each in (from_user_id, to_user_id)}
    nothing = default_entitlement(app)
    mine, theirs = (stored.entitlement if stored else nothing for stored in before.values())
    moving.move_rows(conn, app_id, from_user_id, to_user_id)
    best = mine if _rank(app, mine) > _rank(app, theirs) else theirs
    # Of both: the next refresh resolves the alerts of those that are over, and of no others.
    best = replace(
        best, concerns=tuple({(each.kind, each.subject): each for each in (*mine.concerns, *theirs.concerns)}.values())
    )
    after = [(from_user_id, nothing), (to_user_id, best)]
    for user_id, entitlement in after:
        change = entitlements.save(conn, app_id, user_id, entitlement, now)
        if change is not None:
            write_notice(tx, app, change)
        if app.litellm is not None:
            tx.provision(app_id, user_id)
        tx.want_refresh(app_id, user_id)
        refreshes.revoke(conn, app_id, user_id)  # one that is under way has read customers that have moved since
    live = [key for key in keys.live(conn) if (key.app_id, key.user_id) == (app_id, to_user_id)]
    found = tuple(each.customer_id for each in customers.of_user(conn, app_id, to_user_id))
    tx.resolve_alerts((kind, f"{app_id}/{from_user_id}") for kind in _OF_A_USER)
    return UserMoveResult(best.tier, found, len(live))


def _rank(app: App, entitlement: Entitlement) -> int:
    return (app.tier(entitlement.tier) or app.default_tier).rank
