"""A header that a Traefik middleware sets after ours has taken it from the client (T30). Pure."""

from __future__ import annotations

from gateway.access.authentication import AuthenticatedUser
from gateway.access.credential_cache import CredentialCache
from gateway.access.user_ids import UserIdMapping
from gateway.errors import NotAuthenticated


class TrustedHeader:
    """The user's id as it stands there, in UTF-8."""

    credential_caches: tuple[CredentialCache, ...] = ()

    def __init__(self, ids: UserIdMapping) -> None:
        self._ids = ids

    def read(self, credential: bytes, source: str, now: int) -> AuthenticatedUser:
        try:
            named = credential.decode("utf-8")
        except UnicodeDecodeError:
            raise NotAuthenticated("the user's name is no UTF-8", code="malformed_user_id") from None
        return AuthenticatedUser(self._ids.of(named, "malformed_user_id"), None)
