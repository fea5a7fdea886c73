"""The Stripe customer of one (app, user): created before the first checkout, found by our store, never by e-mail."""

from __future__ import annotations

import hashlib

from sqlalchemy import Connection

from gateway.billing.context import Billing
from gateway.store import customers


def idempotency_key(*parts: str | int) -> str:
    """A key of fixed length that no two different lists of parts share (T1: ids hold colons and may be long)."""
    joined = b"".join(b"%d:%s" % (len(raw), raw) for raw in (str(part).encode() for part in parts))
    return f"skpay-{hashlib.sha256(joined).hexdigest()}"


async def ensure_customer(billing: Billing, app_id: str, user_id: str, email: str | None) -> str:
    """The customer id of this user, created at Stripe if there is none yet. Raises `UpstreamFailed`.

    Repeating it after a lost answer finds the same customer: the idempotency key is made of who it is for.
    """
    for known in await billing.store.read(lambda conn: customers.of_user(conn, app_id, user_id)):
        if await _exists(billing, known.customer_id):
            return known.customer_id
    # A deleted customer is followed by a new one: the count of all there ever were is part of the key.
    ever = await billing.store.read(lambda conn: customers.count_ever(conn, app_id, user_id))
    created = await billing.stripe.post(
        "/v1/customers",
        {"email": email, "metadata": {"app_id": app_id, "user_id": user_id}},
        idempotency_key=idempotency_key("customer", app_id, user_id, ever, email or ""),
    )
    customer_id = str(created["id"])

    def record(conn: Connection) -> None:
        customers.add(conn, app_id, user_id, customer_id, email, billing.now())

    await billing.store.write(record)
    return customer_id


async def _exists(billing: Billing, customer_id: str) -> bool:
    """False only if Stripe itself says `deleted`; a wrong key's "no such customer" proves nothing and is raised."""
    customer = await billing.stripe.get(f"/v1/customers/{customer_id}")
    if customer.get("deleted") is not True:
        return True
    await billing.store.write(lambda conn: customers.mark_deleted(conn, customer_id, billing.now()))
    return False
