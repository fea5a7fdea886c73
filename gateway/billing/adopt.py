"""Customers that exist at Stripe and not in our store: found again by the metadata that we signed, or by an operator.

Only the signature makes a customer ours by itself; whose an unsigned one is, an operator says (`skpay users adopt`).
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection

from gateway.billing import unadopted
from gateway.billing.alerting import log_resolved
from gateway.billing.context import Billing, check_user_id
from gateway.billing.refusals import alert_refusals
from gateway.billing.signing import SIGNATURE, signed_metadata, signed_owner
from gateway.errors import InvalidInput, UpstreamFailed
from gateway.log import fields
from gateway.store import customers, refreshes, tombstones
from gateway.stripe.client import StripeError, StripeObject
from gateway.urls import api_path

log = logging.getLogger(__name__)

LOOK_UP_SECONDS = 10
AT_ONCE = 8
STRANGER_SECONDS = 3600
MAX_STRANGERS = 10_000
MAX_LISTED = 100_000

_CUSTOMER_ID = re.compile(r"[A-Za-z0-9_]{1,255}")

State = Literal["new", "known", "refused"]


@dataclass(frozen=True, slots=True)
class Claim:
    """An operator says: this customer is that user of the app."""

    customer_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a claim. `why` is of a refused one."""

    customer_id: str
    user_id: str
    state: State
    why: str = ""


async def adopt_unknown(
    billing: Billing, customer_ids: Iterable[str], *, subscribing: Collection[str] = ()
) -> dict[str, str]:
    """Look customers up that events name and nobody knows; who carries our signature is ours from now on.

    Others are alerted if they pay for a tier, and are not asked about again for an hour, unless they have just
    subscribed to something (`subscribing`) or have such an alert. Returns, by customer id, why it could not be found
    out.
    """
    now = billing.now()
    named = list(dict.fromkeys(customer_ids))
    named = await billing.store.read(lambda conn: [each for each in named if not _settled(conn, each)])
    wanted = [each for each in named if billing.strangers.get(each, 0) <= now]
    remembered = [each for each in named if each not in wanted]
    paying = await billing.store.read(lambda conn: unadopted.alerted(conn, remembered))
    at_once, failed = asyncio.Semaphore(AT_ONCE), dict[str, str]()
    foreign = [each for each in remembered if each in paying or each in subscribing]

    async def look_up(customer_id: str) -> None:
        async with at_once:
            found = await _look_up(billing, customer_id)
        if isinstance(found, str):
            failed[customer_id] = found
        elif found is None or not await adopt_signed(billing, [found]):
            foreign.append(customer_id)

    await asyncio.gather(*map(look_up, wanted))
    failed |= await _check_foreign(billing, foreign)
    for customer_id in foreign:
        if customer_id not in failed:
            _remember_stranger(billing, customer_id)
    return failed


async def _look_up(billing: Billing, customer_id: str) -> StripeObject | str | None:
    """The customer; None if Stripe has none of this id, a text why it could not be asked."""
    try:
        async with asyncio.timeout(LOOK_UP_SECONDS):
            return await billing.stripe.get(api_path("v1/customers", customer_id))
    except StripeError as exc:
        return None if exc.stripe_code == "resource_missing" else exc.detail
    except (UpstreamFailed, TimeoutError) as exc:
        return getattr(exc, "detail", "") or "Stripe did not answer in time"


async def _check_foreign(billing: Billing, customer_ids: list[str]) -> dict[str, str]:
    """Alert those of these customers who pay for a tier; why, of those that Stripe could not be asked about."""
    try:
        return await unadopted.check_payers(billing, customer_ids)
    except UpstreamFailed as exc:
        return dict.fromkeys(customer_ids, exc.detail or exc.message)


def _settled(conn: Connection, customer_id: str) -> bool:
    return customers.owner(conn, customer_id) is not None or tombstones.is_forgotten_customer(conn, customer_id)


def _remember_stranger(billing: Billing, customer_id: str) -> None:
    strangers = billing.strangers
    strangers.pop(customer_id, None)
    strangers[customer_id] = billing.now() + STRANGER_SECONDS
    while len(strangers) > MAX_STRANGERS:
        del strangers[next(iter(strangers))]


async def adopt_signed(billing: Billing, found: Sequence[StripeObject]) -> int:
    """Store those of these customers that carry our signature and ask for their owners' refreshes; how many are new."""
    owners = [(str(each.get("id")), signed_owner(billing.signing_keys, each.get("metadata"))) for each in found]
    ours = [(cid, *owner) for cid, owner in owners if owner is not None and billing.catalog.app(owner[0]) is not None]
    if not ours:
        return 0

    def job(conn: Connection) -> tuple[list[tuple[str, str, str]], list[tuple[str, str]]]:
        now = billing.now()
        new = [each for each in ours if not _settled(conn, each[0])]
        for customer_id, app_id, user_id in new:
            customers.add(conn, app_id, user_id, customer_id, None, now)
            refreshes.want(conn, app_id, user_id, now)
        return new, unadopted.resolve(conn, [each[0] for each in new], now)

    new, resolved = await billing.store.write(job)
    log_resolved(resolved)
    for customer_id, app_id, user_id in new:
        log.info("customer_adopted", extra=fields(customer_id=customer_id, app_id=app_id, user_id=user_id))
    if new:
        billing.refresh_wanted.set()
    return len(new)


async def adopt_listed(billing: Billing) -> int:
    """Go through the account's customers, newest first, and adopt what we signed; how many were. `UpstreamFailed`."""
    adopted, listed, page = 0, 0, list[StripeObject]()
    async for customer in billing.stripe.each("/v1/customers"):
        listed += 1
        page.append(customer)
        if len(page) == 100:
            adopted += await adopt_signed(billing, page)
            page.clear()
        if listed >= MAX_LISTED:
            # The others are adopted one by one, by their next event.
            log.warning("adoption_stopped", extra=fields(customers=listed))
            break
    adopted += await adopt_signed(billing, page)
    log.info("customers_listed", extra=fields(customers=listed, adopted=adopted))
    return adopted


async def adopt_claimed(billing: Billing, app_id: str, claims: Sequence[Claim], *, apply: bool) -> list[Verdict]:
    """Judge an operator's claims, in their order; with `apply`, sign those that hold at Stripe and store them.

    Repeating it changes nothing. Raises `NotFound` for the app, `UpstreamFailed`; what was applied before stays.
    """
    billing.app(app_id)
    if billing.wrong_account:
        raise UpstreamFailed("The key is of another Stripe account than the store.", retryable=False)
    async with alert_refusals(billing, "adopt_refused", app_id):
        return await _judge(billing, app_id, claims, apply=apply)


async def _judge(billing: Billing, app_id: str, claims: Sequence[Claim], *, apply: bool) -> list[Verdict]:
    at_once, twice = asyncio.Semaphore(AT_ONCE), _claimed_twice(claims)

    async def settle(claim: Claim) -> Verdict:
        if claim in twice:
            return Verdict(claim.customer_id, claim.user_id, "refused", "is claimed for two users")
        async with at_once:
            return await _settle(billing, app_id, claim, apply=apply)

    return await asyncio.gather(*map(settle, claims))


def _claimed_twice(claims: Sequence[Claim]) -> set[Claim]:
    users: dict[str, set[str]] = {}
    for each in claims:
        users.setdefault(each.customer_id, set()).add(each.user_id)
    return {each for each in claims if len(users[each.customer_id]) > 1}


async def _settle(billing: Billing, app_id: str, claim: Claim, *, apply: bool) -> Verdict:
    def verdict(state: State, why: str = "") -> Verdict:
        return Verdict(claim.customer_id, claim.user_id, state, why)

    try:
        check_user_id(claim.user_id)
    except InvalidInput as exc:
        return verdict("refused", exc.message)
    owner = await billing.store.read(lambda conn: customers.owner(conn, claim.customer_id))
    if owner is not None and (owner.app_id, owner.user_id) != (app_id, claim.user_id):
        return verdict("refused", f"is {owner.app_id}/{owner.user_id} already")
    if await billing.store.read(lambda conn: tombstones.is_forgotten_customer(conn, claim.customer_id)):
        return verdict("refused", "belonged to somebody who was forgotten")
    found = await _customer(billing, claim.customer_id)
    why = _objection(billing, app_id, claim, found)
    if why or found is None:
        return verdict("refused", why)
    metadata = signed_metadata(billing.signing_keys, app_id, claim.user_id)
    signed = _metadata(found).get(SIGNATURE) == metadata[SIGNATURE]
    if owner is not None and signed:
        return verdict("known")
    if apply:
        if not signed:
            await billing.stripe.post(api_path("v1/customers", claim.customer_id), {"metadata": metadata})
        await _store(billing, app_id, claim, found)
    return verdict("new")


async def _store(billing: Billing, app_id: str, claim: Claim, found: StripeObject) -> None:
    email = found.get("email")

    def job(conn: Connection) -> list[tuple[str, str]]:
        now = billing.now()
        kept = email if isinstance(email, str) else None
        customers.add(conn, app_id, claim.user_id, claim.customer_id, kept, now)
        refreshes.want(conn, app_id, claim.user_id, now)
        return unadopted.resolve(conn, [claim.customer_id], now)

    log_resolved(await billing.store.write(job))
    billing.strangers.pop(claim.customer_id, None)
    billing.refresh_wanted.set()


async def _customer(billing: Billing, customer_id: str) -> StripeObject | None:
    if not _CUSTOMER_ID.fullmatch(customer_id):
        return None
    try:
        return await billing.stripe.get(api_path("v1/customers", customer_id))
    except StripeError as exc:
        if exc.stripe_code == "resource_missing":
            return None
        raise


def _objection(billing: Billing, app_id: str, claim: Claim, found: StripeObject | None) -> str:
    """Why this customer may not become this user; '' if it may."""
    if found is None:
        return "Stripe has no such customer"
    if found.get("deleted") is True:
        return "was deleted at Stripe"
    signed = signed_owner(billing.signing_keys, found.get("metadata"))
    if signed is not None and signed != (app_id, claim.user_id):
        return f"is signed as {signed[0]}/{signed[1]}"
    metadata = _metadata(found)
    for name, wanted in (("app_id", app_id), ("user_id", claim.user_id)):
        if metadata.get(name, wanted) != wanted:
            return f"its metadata has the {name} {str(metadata[name])[:80]!r} already, which would be overwritten"
    return ""


def _metadata(found: StripeObject) -> Mapping[str, Any]:
    metadata = found.get("metadata")
    return metadata if isinstance(metadata, Mapping) else {}
