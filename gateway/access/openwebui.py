"""Open WebUI's sessions and API keys. Pure."""

from __future__ import annotations

import re

from gateway.access import jwt
from gateway.access.authentication import AuthenticatedUser, CredentialLookup
from gateway.access.credential_cache import MAX_SECONDS, CredentialCache
from gateway.access.introspection_cache import IntrospectionCache, digest_of, refusal
from gateway.access.user_ids import UserIdMapping
from gateway.errors import NotAuthenticated

API_KEY_START = b"sk-"
_API_KEY = re.compile(rb"sk-[A-Za-z0-9_-]{8,200}")


class OpenWebUI:
    """Sessions signed with any of `secrets`, newest first. With `introspect`, an address, Open WebUI is asked about
    each of them as well, and about API keys, which are not signed. With `admins_pass`, its administrators are told
    apart."""

    def __init__(
        self,
        number: int,
        secrets: tuple[bytes, ...],
        ids: UserIdMapping,
        introspect: str | None = None,
        admins_pass: bool = False,
    ) -> None:
        if not (secrets and all(secrets)):
            raise ValueError("an openwebui identity needs a secret that is not empty")
        self.introspect = introspect
        self.introspection_cache = IntrospectionCache()
        self._number = number
        self._secrets = secrets
        self._ids = ids
        self._admins_pass = admins_pass
        self._credential_cache = CredentialCache()

    @property
    def credential_caches(self) -> tuple[CredentialCache, ...]:
        return (self._credential_cache,) if self.introspect is None else self.introspection_cache.credential_caches

    def read(self, credential: bytes, source: str, now: int) -> AuthenticatedUser | CredentialLookup:
        digest = digest_of(credential)
        cached = (self._credential_cache if self.introspect is None else self.introspection_cache).get(digest, now)
        if cached is not None:
            return cached
        if self.introspect is not None:
            self.introspection_cache.check(digest, now)
            if not credential.startswith(API_KEY_START):
                self._verify(credential, now)
            elif not _API_KEY.fullmatch(credential):
                raise refusal("unknown_key")
            return CredentialLookup("openwebui", self._number, credential, source)
        if credential.startswith(API_KEY_START):
            raise refusal("api_key_unsupported")
        user_id, expires_at = self._verify(credential, now)
        until = now + MAX_SECONDS
        if expires_at is not None:
            until = min(until, expires_at)
        self._credential_cache.put(digest, user_id, until)
        return AuthenticatedUser(user_id, until)

    def confirm(self, credential: bytes, named: object, now: int, role: str = "user") -> AuthenticatedUser:
        """Open WebUI says that this credential is the user's whom it calls `named`, with this role.

        Raises `NotAuthenticated`.
        """
        user_id = self._ids.of(named)
        expires_at = None
        if not credential.startswith(API_KEY_START):
            signed_for, expires_at = self._verify(credential, now)
            if signed_for != user_id:
                raise refusal("wrong_user")
        administrator = self._admins_pass and role == "admin"
        return self.introspection_cache.confirm(
            digest_of(credential), user_id, now, expires_at, administrator=administrator
        )

    def _verify(self, token: bytes, now: int) -> tuple[str, int | None]:
        """The user of a session and the second at which it is over: claim `id`; `typ`, if present, is `session`."""
        try:
            claims, expires_at = jwt.verify(token, self._secrets, now)
            user_id = self._ids.of(claims.get("id"))
        except NotAuthenticated as exc:
            if exc.code in ("malformed_token", "wrong_algorithm") and jwt.is_signed(token, self._secrets):
                exc.app_may_accept = True
            raise
        if claims.get("typ", "session") != "session":
            raise NotAuthenticated("the token is not a session's", code="wrong_token_type")
        return user_id, None if expires_at is None else expires_at + jwt.SKEW_SECONDS
