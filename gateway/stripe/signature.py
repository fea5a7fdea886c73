"""Webhook signatures. Stricter than Stripe's own library; malformed input never raises anything else. Pure.

Source: facts of stripe-python 16.1.0 `_webhook.py`: v1 = hex(HMAC-SHA256(whole secret, t + "." + raw body)).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable

from gateway.errors import BadSignature
from gateway.settings import Secret

TOLERANCE_SECONDS = 300
MAX_STALE_SECONDS = 7 * 86_400
"""A header that is older is refused before the body is read."""
MAX_HEADER_BYTES = 4096
MAX_PARTS = 100
_TIMESTAMP = re.compile(r"t=([0-9]{1,12})")
_V1 = re.compile(r"v1=([0-9a-f]{64})")


def check_header(header: str, now: float, clock_ahead_seconds: int | None = None) -> None:
    """Return if the body should be read. Raises `BadSignature`.

    Invalid headers are refused here, before they cost anything. A timestamp up to a week off passes, as does one that
    is off by as much as our clock: if the body then proves to be signed by Stripe, our clock is wrong and is alerted.
    """
    skew = _skew(_read(header)[0], now)
    if abs(skew) > MAX_STALE_SECONDS and abs(skew - (clock_ahead_seconds or 0)) > TOLERANCE_SECONDS:
        raise _stale(skew)


def _read(header: str) -> tuple[int, tuple[bytes, ...]]:
    """The signed instant and every v1 signature of a `Stripe-Signature` header."""
    if not header:
        raise BadSignature("The Stripe-Signature header is missing.", code="missing_signature")
    if len(header) > MAX_HEADER_BYTES:
        raise BadSignature("The Stripe-Signature header is too long.")
    if header.count(",") >= MAX_PARTS:
        raise BadSignature("The Stripe-Signature header has too many parts.")
    instants: list[int] = []
    signatures: list[bytes] = []
    for part in header.split(","):
        if match := _TIMESTAMP.fullmatch(part):
            instants.append(int(match[1]))
        elif match := _V1.fullmatch(part):
            signatures.append(bytes.fromhex(match[1]))
    if len(instants) != 1 or not signatures:
        raise BadSignature("The Stripe-Signature header needs one t=… and at least one v1=….")
    return instants[0], tuple(signatures)


def _skew(signed_at: int, now: float) -> int:
    return int(now) - signed_at


def _stale(skew_seconds: int) -> BadSignature:
    return BadSignature(
        "The signature is too old or from the future.", code="stale_signature", fields={"skew_seconds": skew_seconds}
    )


def verify(body: bytes, header: str, secrets: Iterable[Secret], now: float) -> None:
    """Return if any v1 signature was made with any of `secrets` over these bytes, at most 300 s from `now`.

    Else raises `BadSignature`; with the code `stale_signature` only where the signature itself is valid: a replay, or a
    wrong clock.
    """
    signed_at, signatures = _read(header)
    message = b"%d.%s" % (signed_at, body)
    # Every pair is compared: the time must not depend on which secret or signature matches.
    matched = False
    for secret in secrets:
        expected = hmac.digest(secret.reveal().encode(), message, hashlib.sha256)
        for signature in signatures:
            matched |= hmac.compare_digest(expected, signature)
    if not matched:
        raise BadSignature("The signature does not match any webhook secret.")
    if abs(_skew(signed_at, now)) > TOLERANCE_SECONDS:
        raise _stale(_skew(signed_at, now))
