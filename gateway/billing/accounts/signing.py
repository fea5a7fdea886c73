"""Signs all our customers at Stripe, after an update or a new ADMIN_TOKEN."""

from __future__ import annotations

import hashlib
import logging
from functools import partial

from sqlalchemy import Connection

from gateway.billing.accounts.stripe_account import StripeAccount
from gateway.billing.context import Billing
from gateway.billing.work.rate_limiter import RateLimiter
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.log import fields
from gateway.store import customers, instance
from gateway.stripe.client import Stripe
from gateway.stripe.errors import StripeNotFound
from gateway.stripe.ownership import signed_metadata

log = logging.getLogger(__name__)

SIGNED_WITH = "signed_with"
_PAGE = 100
_PER_SECOND = 5
"""Far below Stripe's limit: it is not urgent, and each write makes Stripe send an event."""


async def sign_customers(billing: Billing) -> int:
    """Sign every known customer with the newest key, unless that was done already; returns how many were signed.

    Needed once after an update from a version that did not sign, and after ADMIN_TOKEN was rolled. After a restart it
    continues where it stopped. Raises `UpstreamFailed`.
    """
    fingerprint = hashlib.sha256(billing.account.signing_keys[0]).hexdigest()[:16]
    state = (await billing.work.read(lambda conn: instance.get(conn, SIGNED_WITH)) or "").partition(" ")
    after = state[2] if state[0] == fingerprint else ""
    if state[0] == fingerprint and not after:
        return 0
    pace, signed = RateLimiter(_PER_SECOND), 0
    while page := await billing.work.read(partial(customers.page, after=after, limit=_PAGE)):
        for customer in page:
            await pace.wait()
            signed += await _sign(billing.stripe, billing.account, customer)
        after = page[-1].customer_id
        await _note(billing.work, f"{fingerprint} {after}")
    await _note(billing.work, fingerprint)
    if signed:
        log.info("customers_signed", extra=fields(customers=signed))
    return signed


async def _sign(stripe: Stripe, account: StripeAccount, customer: customers.Customer) -> bool:
    metadata = signed_metadata(account.signing_keys, customer.app_id, customer.user_id)
    try:
        await stripe.customers.set_metadata(customer.customer_id, metadata)
    except StripeNotFound:
        return False  # deleted at Stripe: it never has to be found
    return True


async def _note(work: UnitOfWork, text: str) -> None:
    def job(conn: Connection) -> None:
        instance.put(conn, SIGNED_WITH, text)

    await work.store.write(job)
