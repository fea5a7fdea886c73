"""The Stripe customer of one (app, user): created before the first checkout, found by our store, never by e-mail."""

from __future__ import annotations

import hashlib
import logging

from sqlalchemy import Connection

from gateway.billing.context import Billing
from gateway.billing.signing import signed_metadata
from gateway.errors import UpstreamFailed
from gateway.log import fields
from gateway.store import customers, tombstones
from gateway.stripe.client import StripeError, StripeObject
from gateway.urls import api_path

log = logging.getLogger(__name__)

KEYS_TO_TRY = 3


def idempotency_key(*parts: str | int) -> str:
    """A key of fixed length that no two different lists of parts share (T1: ids hold colons and may be long)."""
    joined = b"".join(b"%d:%s" % (len(raw), raw) for raw in (str(part).encode() for part in parts))
    return f"skpay-{hashlib.sha256(joined).hexdigest()}"


async def ensure_customer(billing: Billing, app_id: str, user_id: str, email: str | None) -> str:
    """The customer id of this user, created at Stripe if there is none yet. Raises `UpstreamFailed`.

    Repeating it after a lost answer finds the same customer: the idempotency key is made of who it is for.
    """
    for known in await billing.store.read(lambda conn: customers.of_user(conn, app_id, user_id)):
        if not await is_deleted(billing, known.customer_id):
            return known.customer_id
        await mark_deleted(billing, known.customer_id)
    if billing.wrong_account:
        raise UpstreamFailed("Payments cannot be taken right now.", detail="the key is of another Stripe account")
    created = await _create(billing, app_id, user_id)
    customer_id = str(created["id"])

    def record(conn: Connection) -> None:
        customers.add(conn, app_id, user_id, customer_id, email, billing.now())

    await billing.store.write(record)
    if email:
        await _tell_email(billing, customer_id, email)
    return customer_id


async def _create(billing: Billing, app_id: str, user_id: str) -> StripeObject:
    # A deleted customer is followed by a new one: the count of all there ever were is part of the key.
    ever = await billing.store.read(lambda conn: customers.count_ever(conn, app_id, user_id))
    # Who was forgotten and comes back has none that count, and must not be answered the one that was deleted.
    forgotten_at = await billing.store.read(lambda conn: tombstones.user_forgotten_at(conn, app_id, user_id))
    # Nothing but who it is: whatever else differed between two tries would make Stripe refuse the second one's key.
    metadata = signed_metadata(billing.signing_keys, app_id, user_id)
    params = {"metadata": metadata}
    since = [] if forgotten_at is None else [f"since {forgotten_at}"]
    who: list[str | int] = ["customer", *metadata.values(), ever, *since]
    for spare in range(KEYS_TO_TRY):
        key = idempotency_key(*who, *([spare] if spare else []))
        try:
            return await billing.stripe.post("/v1/customers", params, idempotency_key=key)
        except StripeError as exc:
            # Stripe replays a saved 500 for a day; without another key nobody could buy until then.
            if not exc.replayed or spare == KEYS_TO_TRY - 1:
                raise
    raise AssertionError("the last key returns or raises")


async def _tell_email(billing: Billing, customer_id: str, email: str) -> None:
    """Stripe's receipts go there; without it Checkout asks the person, so a refusal stops nobody."""
    try:
        await billing.stripe.post(api_path("v1/customers", customer_id), {"email": email})
    except UpstreamFailed as exc:
        log.warning("customer_email_not_set", extra=fields(customer_id=customer_id, detail=exc.detail))


async def is_deleted(billing: Billing, customer_id: str) -> bool:
    """True only if Stripe itself says `deleted`; a wrong key's "no such customer" proves nothing and is raised."""
    customer = await billing.stripe.get(api_path("v1/customers", customer_id))
    return customer.get("deleted") is True


async def mark_deleted(billing: Billing, customer_id: str) -> None:
    """Never use this customer again."""
    await billing.store.write(lambda conn: customers.mark_deleted(conn, customer_id, billing.now()))
