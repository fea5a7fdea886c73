"""What we write on our customers at Stripe, so that a lost database can be rebuilt from there and from nowhere else.

Metadata alone proves nothing: other products that share the account write `app_id` and `user_id` too, and some let
their users fill metadata in. The signature is made with a key derived from ADMIN_TOKEN (docs/adr/0005).
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Mapping, Sequence
from functools import partial

from sqlalchemy import Connection

from gateway.access.derived_keys import derived_keys
from gateway.billing.context import Billing
from gateway.billing.work.rate_limiter import RateLimiter
from gateway.log import fields
from gateway.settings import Secrets
from gateway.store import customers, instance
from gateway.stripe.errors import StripeError
from gateway.urls import api_path

log = logging.getLogger(__name__)

SIGNATURE = "skpay_sig"
_FORMER_PURPOSE = b"skpayments customer metadata v1"
SIGNED_WITH = "signed_with"
_PAGE = 100
_PER_SECOND = 5
"""Far below Stripe's limit: nobody waits for it, and each write makes Stripe send an event."""


def signing_keys(admin_tokens: Secrets) -> tuple[bytes, ...]:
    """One key for each token, newest first: the first signs, all of them verify.

    The keys as earlier versions derived them come last: what they signed stands at Stripe until `sign_customers` has
    replaced it, and in a restored backup's customers for longer.
    """
    former = (hmac.digest(token.reveal().encode(), _FORMER_PURPOSE, hashlib.sha256) for token in admin_tokens)
    return (*derived_keys(admin_tokens, "customer metadata 2"), *former)


def signed_metadata(keys: Sequence[bytes], app_id: str, user_id: str) -> dict[str, str]:
    """The metadata of a customer of ours."""
    return {"app_id": app_id, "user_id": user_id, SIGNATURE: _signature(keys[0], app_id, user_id)}


def signed_owner(keys: Sequence[bytes], metadata: object) -> tuple[str, str] | None:
    """The (app id, user id) that this metadata names, if we signed it."""
    if not isinstance(metadata, Mapping):
        return None
    app_id, user_id, signature = (metadata.get(name) for name in ("app_id", "user_id", SIGNATURE))
    if not (isinstance(app_id, str) and isinstance(user_id, str) and isinstance(signature, str)):
        return None
    given, good = signature.encode("utf-8", "surrogatepass"), False
    for key in keys:
        good |= hmac.compare_digest(_signature(key, app_id, user_id).encode(), given)
    return (app_id, user_id) if good else None


def _signature(key: bytes, app_id: str, user_id: str) -> str:
    # With their lengths: app "a" with user "bc" must not be app "ab" with user "c".
    parts = b"".join(b"%d:%s" % (len(raw), raw) for raw in (app_id.encode(), user_id.encode("utf-8", "surrogatepass")))
    return hmac.digest(key, parts, hashlib.sha256).hex()


async def sign_customers(billing: Billing) -> int:
    """Sign every customer we know with the newest key, unless that was done already; how many were signed.

    Needed once after an update from a version that did not sign, and after ADMIN_TOKEN was rolled. A kill in between
    goes on where it stopped. Raises `UpstreamFailed`.
    """
    fingerprint = hashlib.sha256(billing.signing_keys[0]).hexdigest()[:16]
    told = (await billing.store.read(lambda conn: instance.get(conn, SIGNED_WITH)) or "").partition(" ")
    after = told[2] if told[0] == fingerprint else ""
    if told[0] == fingerprint and not after:
        return 0
    pace, signed = RateLimiter(_PER_SECOND), 0
    while page := await billing.store.read(partial(customers.page, after=after, limit=_PAGE)):
        for customer in page:
            await pace.wait()
            signed += await _sign(billing, customer)
        after = page[-1].customer_id
        await _note(billing, f"{fingerprint} {after}")
    await _note(billing, fingerprint)
    if signed:
        log.info("customers_signed", extra=fields(customers=signed))
    return signed


async def _sign(billing: Billing, customer: customers.Customer) -> bool:
    metadata = signed_metadata(billing.signing_keys, customer.app_id, customer.user_id)
    try:
        await billing.stripe.transport.post(api_path("v1/customers", customer.customer_id), {"metadata": metadata})
    except StripeError as exc:
        if exc.stripe_code != "resource_missing":
            raise
        return False  # deleted there: nothing will ever have to be found again
    return True


async def _note(billing: Billing, text: str) -> None:
    def job(conn: Connection) -> None:
        instance.put(conn, SIGNED_WITH, text)

    await billing.store.write(job)
