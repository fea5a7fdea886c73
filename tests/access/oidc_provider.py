"""An OpenID provider as the tests use it: keys of every type, a key set, and tokens signed by hand."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jwt as pyjwt
from access.access_samples import NOW, b64
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from gateway.catalog.identity import JwtIdentity

ISSUER = "https://sso.example.com/realms/main"
AUDIENCE = "skai"
JWKS_URL = "https://sso.example.com/certs"
KIND = JwtIdentity(ISSUER, AUDIENCE, JWKS_URL, ("RS256", "ES256", "EdDSA"), "Authorization", None)
CLAIMS: dict[str, Any] = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": NOW + 300, "iat": NOW}

_MAKERS: dict[str, Any] = {
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "rsa-2": lambda: rsa.generate_private_key(65537, 2048),
    "rsa-1024": lambda: rsa.generate_private_key(65537, 1024),  # noqa: S505  # it must be refused
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p256-2": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ed448": ed448.Ed448PrivateKey.generate,
}


@cache
def private(name: str) -> Any:
    """The private key of this name, the same one during a run."""
    return _MAKERS[name]()


def jwk(name: str, **changes: object) -> dict[str, Any]:
    """Its public half as a key set holds it, with the name for its id; a change to None takes a member away."""
    public = private(name).public_key()
    algorithm: Any = {"r": RSAAlgorithm, "p": ECAlgorithm, "s": ECAlgorithm, "e": OKPAlgorithm}[name[0]]
    found = {**algorithm.to_jwk(public, as_dict=True), "kid": name, "use": "sig"} | changes
    return {key: value for key, value in found.items() if value is not None}


def key_set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def signed(
    key: str = "rsa", algorithm: str = "RS256", *, header: dict[str, Any] | None = None, **changes: object
) -> bytes:
    """A token with these claims changed (None takes one away); the key's name is its key id unless `header` says."""
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    headers = {"kid": key} if header is None else header
    return pyjwt.encode(claims, private(key), algorithm, headers=headers).encode()


def by_hand(header: object, claims: object, sign: Any) -> bytes:
    """A token of exactly this header, as no library would make it; `sign` makes the signature of the signed bytes."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
    text = ".".join(map(b64, parts))
    return f"{text}.{b64(sign(text.encode()))}".encode()
