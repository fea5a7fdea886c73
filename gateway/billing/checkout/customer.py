"""The Stripe customer of one (app, user): created before the first checkout, found by our store, never by e-mail."""

from __future__ import annotations

import logging

from sqlalchemy import Connection

from gateway.billing.context import Billing
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.errors import UpstreamFailed
from gateway.log import fields
from gateway.store import customers, tombstones
from gateway.stripe.client import Stripe
from gateway.stripe.customers import StripeCustomer
from gateway.stripe.idempotency import KEY_KEPT_SECONDS, create_once
from gateway.stripe.ownership import signed_metadata, signed_owner

log = logging.getLogger(__name__)


async def ensure_customer(billing: Billing, app_id: str, user_id: str, email: str | None) -> str:
    """The customer id of this user, created at Stripe if there is none yet. Raises `UpstreamFailed`.

    Idempotent, also after a lost answer: the idempotency key is derived from app and user.
    """
    for known in await billing.work.read(lambda conn: customers.of_user(conn, app_id, user_id)):
        if not await billing.stripe.customers.is_deleted(known.customer_id):
            return known.customer_id
        await mark_deleted(billing.work, known.customer_id)
    if billing.account.wrong:
        raise UpstreamFailed("Payments cannot be taken right now.", detail="the key is of another Stripe account")
    customer_id = (await _create(billing, app_id, user_id)).customer_id

    def record(conn: Connection) -> None:
        customers.add(conn, app_id, user_id, customer_id, email, billing.work.now())

    await billing.work.store.write(record)
    if email:
        await _set_email(billing.stripe, customer_id, email)
    return customer_id


async def _create(billing: Billing, app_id: str, user_id: str) -> StripeCustomer:
    # A deleted customer is replaced by a new one, so the key includes how many the user has ever had.
    ever = await billing.work.read(lambda conn: customers.count_ever(conn, app_id, user_id))
    # A forgotten user who returns must not get the replayed answer with the deleted customer.
    forgotten_at = await billing.work.read(lambda conn: tombstones.user_forgotten_at(conn, app_id, user_id))
    # Only the identity: Stripe refuses an idempotency key with other parameters than at its first use.
    metadata = signed_metadata(billing.account.signing_keys, app_id, user_id)
    since = [] if forgotten_at is None else [f"since {forgotten_at}"]
    created_since = max(billing.work.now() - KEY_KEPT_SECONDS - 3600, forgotten_at or 0)

    async def create(key: str) -> StripeCustomer:
        return await billing.stripe.customers.create(metadata, key)

    async def find_leftover() -> StripeCustomer | None:
        return await _leftover(billing, app_id, user_id, created_since)

    key_parts: tuple[str | int, ...] = ("customer", *map(str, metadata.values()), ever, *since)
    created = await create_once(create, key_parts, find_leftover)
    if await billing.work.read(lambda conn: customers.owner(conn, created.customer_id)) is None:
        return created
    # A replayed answer: its customer was moved to another user meanwhile.
    key_parts += (f"after {created.customer_id}",)
    return await create_once(create, key_parts, find_leftover)


async def _leftover(billing: Billing, app_id: str, user_id: str, created_since: int) -> StripeCustomer | None:
    """The oldest customer since then that we signed for this user and that is not stored yet."""
    oldest: StripeCustomer | None = None
    async for found in billing.stripe.customers.list_all(created_since):
        if signed_owner(billing.account.signing_keys, found.metadata) == (app_id, user_id):
            oldest = found
    if oldest is None:
        return None
    stored = await billing.work.read(lambda conn: customers.owner(conn, oldest.customer_id))
    return oldest if stored is None else None


async def _set_email(stripe: Stripe, customer_id: str, email: str) -> None:
    """For Stripe's receipts. A failure is only logged: without an address Checkout requests one."""
    try:
        await stripe.customers.set_email(customer_id, email)
    except UpstreamFailed as exc:
        log.warning("customer_email_not_set", extra=fields(customer_id=customer_id, detail=exc.detail))


async def mark_deleted(work: UnitOfWork, customer_id: str) -> None:
    """Record that this customer was deleted at Stripe; it is not used any more."""
    await work.store.write(lambda conn: customers.mark_deleted(conn, customer_id, work.now()))
