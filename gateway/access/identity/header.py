"""Verifier of `header`: a header that a Traefik middleware sets after ours has removed the client's (T30). Pure."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from gateway.access.authentication import AuthenticatedUser
from gateway.access.identity.verifier import CredentialVerifier, PreparedVerifier, VerifierContext
from gateway.access.user_id_mapping import UserIdMapping
from gateway.catalog.identity import HeaderIdentity
from gateway.errors import NotAuthenticated


class HeaderVerifier(CredentialVerifier):
    """The header's value is the user's id, in UTF-8."""

    kind: ClassVar[str] = HeaderIdentity.kind

    def __init__(self, user_ids: UserIdMapping) -> None:
        self._user_ids = user_ids

    def read(self, credential: bytes, source: str, now: int) -> AuthenticatedUser:
        try:
            name = credential.decode("utf-8")
        except UnicodeDecodeError:
            raise NotAuthenticated("the user's name is no UTF-8", code="malformed_user_id") from None
        return AuthenticatedUser(self._user_ids.of(name, "malformed_user_id"), None)


def prepare(entry: HeaderIdentity, context: VerifierContext) -> PreparedVerifier:
    return PreparedVerifier((entry, context.user_ids), partial(HeaderVerifier, context.user_ids))
