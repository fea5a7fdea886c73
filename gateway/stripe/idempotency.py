"""Creates at most one object at Stripe, even if an answer is lost or Stripe has saved an error."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.stripe.errors import StripeError

KEYS_TO_TRY = 100
KEY_KEPT_SECONDS = 86_400
"""Stripe keeps an answer under its idempotency key for at least this long."""

T = TypeVar("T")


def idempotency_key(*parts: str | int) -> str:
    """A key of fixed length; two different lists of parts never share one (T1: ids hold colons and may be long)."""
    joined = b"".join(b"%d:%s" % (len(raw), raw) for raw in (str(part).encode() for part in parts))
    return f"skpay-{hashlib.sha256(joined).hexdigest()}"


async def create_once(
    create: Callable[[str], Awaitable[T]],
    key_parts: tuple[str | int, ...],
    find_leftover: Callable[[], Awaitable[T | None]],
) -> T:
    """Create the object that `key_parts` name, or return the one that an earlier call created. Raises `UpstreamFailed`.

    `create(idempotency_key)` sends the request, always with the same parameters. After a lost answer it is repeated
    under the same key. A key under which Stripe saved an error is spent: Stripe replays the error for a day, so the
    next key is used. An error 500 may have created the object nevertheless, so it is searched for
    (`find_leftover`) before another one is created.
    """
    searched = False
    for spare in range(KEYS_TO_TRY):
        key = idempotency_key(*key_parts, *([spare] if spare else []))
        try:
            return await create(key)
        except StripeError as exc:
            if not exc.replayed or spare == KEYS_TO_TRY - 1:
                raise
            if (exc.status or 0) >= 500 and not searched:
                searched = True
                leftover = await find_leftover()
                if leftover is not None:
                    return leftover
    raise AssertionError("the last key returns or raises")
