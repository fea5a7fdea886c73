"""Signing keys derived from GATE_SECRET or ADMIN_TOKEN, one for each purpose (HKDF-SHA256, RFC 5869). Pure.

A signature allows testing guesses of its key offline. A key derived for one purpose does not open the gate or /admin,
and its signatures are valid for that purpose only. Guessing the secret through the derivation takes as long as guessing
32 random bytes, which is why both secrets must be that long.
"""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.settings import Secrets

KEY_BYTES = 32


def derived_keys(secrets: Secrets, purpose: str) -> tuple[bytes, ...]:
    """One key for each secret, newest first: the first one signs, all of them verify (`new,old` while rolling)."""
    return tuple(_derived(secret.reveal().encode(), f"skpayments {purpose}".encode()) for secret in secrets)


def _derived(secret: bytes, info: bytes) -> bytes:
    if not secret:
        raise ValueError("no key can be derived from an empty secret")
    return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=info).derive(secret)
