"""The tags as a signed token (JWT, ES256), so that an app need not trust the network between it and Traefik. Pure.

The keys are derived from ADMIN_TOKEN: nothing has to be stored, and they are the same after a restart.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from gateway.access.jwt import b64url
from gateway.catalog.model import Tier
from gateway.settings import Secrets

LIFETIME_SECONDS = 60
_PURPOSE = b"skpayments assertion key v1"
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256 (FIPS 186)
_SIZE = 32
_ES256 = ec.ECDSA(hashes.SHA256())


def assertion_keys(admin_tokens: Secrets) -> tuple[ec.EllipticCurvePrivateKey, ...]:
    """One P-256 key for each token, newest first. Slow (40 ms each) on purpose: the public key is published, and must
    not allow guessing the token quickly."""
    return tuple(_key(token.reveal().encode()) for token in admin_tokens)


def _key(token: bytes) -> ec.EllipticCurvePrivateKey:
    # 64 bytes rather than 32, so that the modulo has no noticeable bias (FIPS 186-5, A.2.1).
    derived = hashlib.scrypt(token, salt=_PURPOSE, n=2**14, r=8, p=1, dklen=64)
    return ec.derive_private_key(int.from_bytes(derived, "big") % (_ORDER - 1) + 1, ec.SECP256R1())


def _jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    """The public key as a JWK (RFC 7517); `kid` is its thumbprint (RFC 7638)."""
    point = key.public_key().public_numbers()
    x, y = (b64url(number.to_bytes(_SIZE, "big")).decode() for number in (point.x, point.y))
    jwk = {"crv": "P-256", "kty": "EC", "x": x, "y": y}
    thumbprint = hashlib.sha256(json.dumps(jwk, separators=(",", ":")).encode()).digest()
    return {**jwk, "kid": b64url(thumbprint).decode(), "alg": "ES256", "use": "sig"}


class Signer:
    """Signs with the first key; `jwks` contains the public keys of all, so that older signatures still verify."""

    def __init__(self, issuer: str, keys: Sequence[ec.EllipticCurvePrivateKey]) -> None:
        self._issuer = issuer
        self._key = keys[0]
        self.jwks: dict[str, list[dict[str, str]]] = {"keys": [_jwk(key) for key in keys]}
        header = {"alg": "ES256", "typ": "JWT", "kid": self.jwks["keys"][0]["kid"]}
        self._header = b64url(json.dumps(header).encode()) + b"."

    def sign(self, app_id: str, tier: Tier, user_id: str | None, now: int) -> bytes:
        """The token of one user (None: anonymous), valid until `now + LIFETIME_SECONDS`. Takes 30 µs."""
        claims: dict[str, object] = {"iss": self._issuer, "aud": app_id}
        if user_id is not None:
            claims["sub"] = user_id
        claims |= {"tier": tier.tier_id, "features": tier.features, "iat": now, "exp": now + LIFETIME_SECONDS}
        signed = self._header + b64url(json.dumps(claims, separators=(",", ":")).encode())
        r, s = decode_dss_signature(self._key.sign(signed, _ES256))
        return signed + b"." + b64url(r.to_bytes(_SIZE, "big") + s.to_bytes(_SIZE, "big"))
