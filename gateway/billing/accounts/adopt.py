"""Adopts customers that exist at Stripe but not in our store.

A customer with our signature is adopted automatically; an unsigned one by an operator (`skpay users adopt`).
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection

from gateway.billing.accounts import unadopted
from gateway.billing.accounts.stripe_account import StripeAccount
from gateway.billing.context import Billing
from gateway.billing.work.refusals import alert_refusals
from gateway.billing.work.transaction import Transaction
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.errors import InvalidInput, UpstreamFailed
from gateway.log import fields
from gateway.store import customers, tombstones
from gateway.stripe.client import Stripe
from gateway.stripe.customers import StripeCustomer
from gateway.stripe.errors import StripeNotFound
from gateway.stripe.ownership import is_signed_with_newest_key, other_owner, signed_metadata, signed_owner
from gateway.user_ids import check_user_id

log = logging.getLogger(__name__)

LOOK_UP_SECONDS = 10
MAX_CONCURRENT = 8
UNKNOWN_CUSTOMER_SECONDS = 3600
MAX_UNKNOWN_CUSTOMERS = 10_000
MAX_LISTED = 100_000

_CUSTOMER_ID = re.compile(r"[A-Za-z0-9_]{1,255}")

State = Literal["new", "known", "refused"]


@dataclass(frozen=True, slots=True)
class Assignment:
    """An operator's statement that this customer is that user of the app."""

    customer_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class AdoptionResult:
    """The result of an assignment. `why` is the reason for refusing it."""

    customer_id: str
    user_id: str
    state: State
    why: str = ""


async def adopt_unknown(
    billing: Billing, customer_ids: Iterable[str], *, subscribing: Collection[str] = ()
) -> dict[str, str]:
    """Look up unknown customers that events name, and adopt those with our signature.

    Others are alerted if they pay for a tier, and are looked up at most once an hour, unless they have just
    subscribed to something (`subscribing`) or have such an alert. Returns the failed look-ups: customer id → reason.
    """
    now = billing.work.now()
    named = list(dict.fromkeys(customer_ids))
    named = await billing.work.read(lambda conn: [each for each in named if not _is_known_or_forgotten(conn, each)])
    to_look_up = [each for each in named if billing.account.unknown_customers.get(each, 0) <= now]
    remembered = [each for each in named if each not in to_look_up]
    paying = await billing.work.read(lambda conn: unadopted.alerted(conn, remembered))
    at_once, failed = asyncio.Semaphore(MAX_CONCURRENT), dict[str, str]()
    foreign = [each for each in remembered if each in paying or each in subscribing]

    async def look_up(customer_id: str) -> None:
        async with at_once:
            found = await _look_up(billing.stripe, customer_id)
        if isinstance(found, str):
            failed[customer_id] = found
        elif found is None or not await adopt_signed(billing, [found]):
            foreign.append(customer_id)

    await asyncio.gather(*map(look_up, to_look_up))
    failed |= await _check_foreign(billing, foreign)
    for customer_id in foreign:
        if customer_id not in failed:
            _remember_unknown_customer(billing.work, billing.account, customer_id)
    return failed


async def _look_up(stripe: Stripe, customer_id: str) -> StripeCustomer | str | None:
    """The customer; None if Stripe has none of this id; a text if the look-up failed."""
    try:
        async with asyncio.timeout(LOOK_UP_SECONDS):
            return await stripe.customers.get(customer_id)
    except StripeNotFound:
        return None
    except (UpstreamFailed, TimeoutError) as exc:
        return getattr(exc, "detail", "") or "Stripe did not answer in time"


async def _check_foreign(billing: Billing, customer_ids: list[str]) -> dict[str, str]:
    """Alert those of these customers that pay for a tier; returns the failed look-ups."""
    try:
        return await unadopted.check_payers(billing, customer_ids)
    except UpstreamFailed as exc:
        return dict.fromkeys(customer_ids, exc.detail or exc.message)


def _is_known_or_forgotten(conn: Connection, customer_id: str) -> bool:
    return customers.owner(conn, customer_id) is not None or tombstones.is_forgotten_customer(conn, customer_id)


def _remember_unknown_customer(work: UnitOfWork, account: StripeAccount, customer_id: str) -> None:
    unknown_customers = account.unknown_customers
    unknown_customers.pop(customer_id, None)
    unknown_customers[customer_id] = work.now() + UNKNOWN_CUSTOMER_SECONDS
    while len(unknown_customers) > MAX_UNKNOWN_CUSTOMERS:
        del unknown_customers[next(iter(unknown_customers))]


async def adopt_signed(billing: Billing, found: Sequence[StripeCustomer]) -> int:
    """Store those of these customers that we signed, and refresh their owners; returns how many are new."""
    owners = [(each.customer_id, signed_owner(billing.account.signing_keys, each.metadata)) for each in found]
    ours = [
        (cid, *owner) for cid, owner in owners if owner is not None and billing.apps.catalog.app(owner[0]) is not None
    ]
    if not ours:
        return 0

    def job(tx: Transaction) -> list[tuple[str, str, str]]:
        new = [each for each in ours if not _is_known_or_forgotten(tx.conn, each[0])]
        for customer_id, app_id, user_id in new:
            customers.add(tx.conn, app_id, user_id, customer_id, None, tx.now)
            tx.want_refresh(app_id, user_id)
            tx.resolve_alert(unadopted.KIND, customer_id)
        return new

    new = await billing.work.write(job)
    for customer_id, app_id, user_id in new:
        log.info("customer_adopted", extra=fields(customer_id=customer_id, app_id=app_id, user_id=user_id))
    return len(new)


async def adopt_listed(billing: Billing) -> int:
    """Adopt all customers of the account that we signed; returns how many were new. Raises `UpstreamFailed`."""
    adopted, listed, page = 0, 0, list[StripeCustomer]()
    async for customer in billing.stripe.customers.list_all():
        listed += 1
        page.append(customer)
        if len(page) == 100:
            adopted += await adopt_signed(billing, page)
            page.clear()
        if listed >= MAX_LISTED:
            # The others are adopted by their next event.
            log.warning("adoption_stopped", extra=fields(customers=listed))
            break
    adopted += await adopt_signed(billing, page)
    log.info("customers_listed", extra=fields(customers=listed, adopted=adopted))
    return adopted


async def adopt_assigned(
    billing: Billing, app_id: str, assignments: Sequence[Assignment], *, apply: bool
) -> list[AdoptionResult]:
    """Check an operator's assignments, in their order; with `apply`, sign the valid ones at Stripe and store them.

    Idempotent. Raises `NotFound` for the app, `UpstreamFailed`; what was applied before stays.
    """
    billing.apps.app(app_id)
    if billing.account.wrong:
        raise UpstreamFailed("The key is of another Stripe account than the store.", retryable=False)
    async with alert_refusals(billing.work, "adopt_refused", app_id):
        return await _adopt_all(billing, app_id, assignments, apply=apply)


async def _adopt_all(
    billing: Billing, app_id: str, assignments: Sequence[Assignment], *, apply: bool
) -> list[AdoptionResult]:
    at_once, twice = asyncio.Semaphore(MAX_CONCURRENT), _assigned_twice(assignments)

    async def adopt(assignment: Assignment) -> AdoptionResult:
        if assignment in twice:
            return AdoptionResult(assignment.customer_id, assignment.user_id, "refused", "is assigned to two users")
        async with at_once:
            return await _adopt_one(billing, app_id, assignment, apply=apply)

    return await asyncio.gather(*map(adopt, assignments))


def _assigned_twice(assignments: Sequence[Assignment]) -> set[Assignment]:
    users: dict[str, set[str]] = {}
    for each in assignments:
        users.setdefault(each.customer_id, set()).add(each.user_id)
    return {each for each in assignments if len(users[each.customer_id]) > 1}


async def _adopt_one(billing: Billing, app_id: str, assignment: Assignment, *, apply: bool) -> AdoptionResult:
    def result(state: State, why: str = "") -> AdoptionResult:
        return AdoptionResult(assignment.customer_id, assignment.user_id, state, why)

    try:
        check_user_id(assignment.user_id)
    except InvalidInput as exc:
        return result("refused", exc.message)
    owner = await billing.work.read(lambda conn: customers.owner(conn, assignment.customer_id))
    if owner is not None and (owner.app_id, owner.user_id) != (app_id, assignment.user_id):
        return result("refused", f"is {owner.app_id}/{owner.user_id} already")
    if await billing.work.read(lambda conn: tombstones.is_forgotten_customer(conn, assignment.customer_id)):
        return result("refused", "belonged to a forgotten user")
    found = await _customer(billing.stripe, assignment.customer_id)
    why = _refusal_reason(billing.account, app_id, assignment, found)
    if why or found is None:
        return result("refused", why)
    signed = is_signed_with_newest_key(billing.account.signing_keys, found.metadata, app_id, assignment.user_id)
    if owner is not None and signed:
        return result("known")
    if apply:
        if not signed:
            metadata = signed_metadata(billing.account.signing_keys, app_id, assignment.user_id)
            await billing.stripe.customers.set_metadata(assignment.customer_id, metadata)
        await _store(billing.work, billing.account, app_id, assignment, found)
    return result("new")


async def _store(
    work: UnitOfWork, account: StripeAccount, app_id: str, assignment: Assignment, found: StripeCustomer
) -> None:
    def job(tx: Transaction) -> None:
        customers.add(tx.conn, app_id, assignment.user_id, assignment.customer_id, found.email, tx.now)
        tx.want_refresh(app_id, assignment.user_id)
        tx.resolve_alert(unadopted.KIND, assignment.customer_id)

    await work.write(job)
    account.unknown_customers.pop(assignment.customer_id, None)


async def _customer(stripe: Stripe, customer_id: str) -> StripeCustomer | None:
    if not _CUSTOMER_ID.fullmatch(customer_id):
        return None
    try:
        return await stripe.customers.get(customer_id)
    except StripeNotFound:
        return None


def _refusal_reason(account: StripeAccount, app_id: str, assignment: Assignment, found: StripeCustomer | None) -> str:
    """Why this customer may not become this user; '' if it may."""
    if found is None:
        return "Stripe has no such customer"
    if found.deleted:
        return "was deleted at Stripe"
    signed = signed_owner(account.signing_keys, found.metadata)
    if signed is not None and signed != (app_id, assignment.user_id):
        return f"is signed as {signed[0]}/{signed[1]}"
    other = other_owner(found.metadata, app_id, assignment.user_id)
    if other is not None:
        return f"its metadata has the {other[0]} {other[1][:80]!r} already, which would be overwritten"
    return ""
