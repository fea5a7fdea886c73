"""Verifier of `user_key`: our own keys. Pure."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from gateway.access.authentication import AuthenticatedUser
from gateway.access.identity.verifier import CredentialVerifier, PreparedVerifier, VerifierContext
from gateway.access.keys import UserKeys, key_hash
from gateway.catalog.identity import UserKeyIdentity
from gateway.errors import NotAuthenticated


class UserKeyVerifier(CredentialVerifier):
    """`keys` is live: a revoked key is refused by the next request."""

    kind: ClassVar[str] = UserKeyIdentity.kind

    def __init__(self, app_id: str, keys: UserKeys) -> None:
        self._app_id = app_id
        self._keys = keys

    def read(self, credential: bytes, source: str, now: int) -> AuthenticatedUser:
        owner = self._keys.get(key_hash(credential.decode("latin-1")))
        if owner is None or owner.app_id != self._app_id:
            raise NotAuthenticated("this user key is unknown or was revoked", code="unknown_key")
        return AuthenticatedUser(owner.user_id, None)


def prepare(entry: UserKeyIdentity, context: VerifierContext) -> PreparedVerifier:
    """A new one at each reload, since `user_keys` is another mapping then; it has no cache to lose."""
    return PreparedVerifier(object(), partial(UserKeyVerifier, context.app.app_id, context.user_keys))
