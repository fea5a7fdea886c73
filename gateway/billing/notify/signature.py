"""Standard Webhooks: the secret as it is written, and the headers that sign a notice. Pure.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from gateway.settings import Secret, Secrets

PREFIX = "whsec_"
MIN_BYTES, MAX_BYTES = 24, 64
MAKE_ONE = "echo whsec_$(openssl rand -base64 32)"


def signing_key(secret: Secret) -> bytes:
    """The bytes behind `whsec_<base64>`. Raises `ValueError` saying what is wrong, never the value."""
    text = secret.reveal()
    encoded = text.removeprefix(PREFIX)
    try:
        # The padding may be left out; receivers' libraries allow it too.
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(PREFIX) or not MIN_BYTES <= len(key) <= MAX_BYTES:
        raise ValueError(
            f"is no Standard Webhooks secret, {PREFIX} and {MIN_BYTES} to {MAX_BYTES} bytes in base64; "
            f"make one with: {MAKE_ONE}"
        )
    return key


def signed_headers(secrets: Secrets, webhook_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of one attempt; while a secret is rolled, one signature of each, the newest first."""
    signed = b".".join((webhook_id.encode(), str(timestamp).encode(), body))
    macs = (hmac.digest(signing_key(secret), signed, hashlib.sha256) for secret in secrets)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(mac).decode()}" for mac in macs),
    }
