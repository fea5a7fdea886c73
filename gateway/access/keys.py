"""Our own user keys: `skp_…`, kept as hashes. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from gateway.access.authentication import AuthenticatedUser
from gateway.access.credential_cache import CredentialCache
from gateway.errors import NotAuthenticated


class KeyOwner(NamedTuple):
    """Whose key it is: a key of one app is nothing to another."""

    app_id: str
    user_id: str


UserKeys = Mapping[str, KeyOwner]
"""`key_hash(key)` → owner. Live: a revoked key is taken out, and refused by the next request."""


def key_hash(key: str) -> str:
    """SHA-256 in hex: keys are long and random, so nothing slower is needed."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


class UserKeyVerifier:
    """Who holds which of our keys; `keys` is live."""

    credential_caches: tuple[CredentialCache, ...] = ()

    def __init__(self, app_id: str, keys: UserKeys) -> None:
        self._app_id = app_id
        self._keys = keys

    def read(self, credential: bytes, source: str, now: int) -> AuthenticatedUser:
        owner = self._keys.get(key_hash(credential.decode("latin-1")))
        if owner is None or owner.app_id != self._app_id:
            raise NotAuthenticated("this user key is unknown or was revoked", code="unknown_key")
        return AuthenticatedUser(owner.user_id, None)
