"""Creating at most one object at Stripe, whatever answer is lost and whatever failure Stripe has saved."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

from gateway.billing.context import Billing
from gateway.stripe.errors import StripeError
from gateway.stripe.forms import Params
from gateway.stripe.transport import StripeObject

KEYS_TO_TRY = 100
KEY_KEPT_SECONDS = 86_400
"""How long Stripe keeps an answer under its key, at least."""


def idempotency_key(*parts: str | int) -> str:
    """A key of fixed length that no two different lists of parts share (T1: ids hold colons and may be long)."""
    joined = b"".join(b"%d:%s" % (len(raw), raw) for raw in (str(part).encode() for part in parts))
    return f"skpay-{hashlib.sha256(joined).hexdigest()}"


async def create_once(
    billing: Billing,
    path: str,
    params: Params,
    key_parts: tuple[str | int, ...],
    find_leftover: Callable[[], Awaitable[StripeObject | None]],
) -> StripeObject:
    """Create the object that `key_parts` name, or return the one that an earlier call created. Raises `UpstreamFailed`.

    A lost answer is asked for again under the same key. A key under which Stripe saved an error is spent: Stripe
    replays that error for a day, so the next key is used. An error 500 may have created the object nevertheless; it is
    looked for before another one is created.
    """
    searched = False
    for spare in range(KEYS_TO_TRY):
        key = idempotency_key(*key_parts, *([spare] if spare else []))
        try:
            return await billing.stripe.transport.post(path, params, idempotency_key=key)
        except StripeError as exc:
            if not exc.replayed or spare == KEYS_TO_TRY - 1:
                raise
            if (exc.status or 0) >= 500 and not searched:
                searched = True
                leftover = await find_leftover()
                if leftover is not None:
                    return leftover
    raise AssertionError("the last key returns or raises")
