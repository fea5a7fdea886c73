"""Verifier of `openwebui`: Open WebUI's sessions and API keys. Pure."""

from __future__ import annotations

import re
from functools import partial
from typing import ClassVar

from gateway.access import jwt
from gateway.access.authentication import AuthenticatedUser, CredentialLookup
from gateway.access.credential_cache import MAX_SECONDS, CredentialCache
from gateway.access.identity.verifier import CredentialVerifier, PreparedVerifier, VerifierContext
from gateway.access.introspection_cache import IntrospectionCache, digest_of, refusal
from gateway.access.user_id_mapping import UserIdMapping
from gateway.catalog.identity import OpenWebUIIdentity
from gateway.errors import ConfigError, NotAuthenticated
from gateway.settings import Secrets

API_KEY_START = b"sk-"
SESSION_SOURCE = f"cookie:{OpenWebUIIdentity.session_cookie}"
"""The `source` of a session in the cookie."""
_API_KEY = re.compile(rb"sk-[A-Za-z0-9_-]{8,200}")


class OpenWebUIVerifier(CredentialVerifier):
    """Sessions signed with any of `secrets`, newest first. With `introspect`, a URL, Open WebUI is asked about each of
    them as well, and about API keys, which are not signed. With `admins_pass`, its administrators are recognized."""

    kind: ClassVar[str] = OpenWebUIIdentity.kind
    app_reads_other_schemes: ClassVar[bool] = True
    last_cookie_counts: ClassVar[bool] = True

    def __init__(
        self,
        number: int,
        secrets: tuple[bytes, ...],
        user_ids: UserIdMapping,
        introspect: str | None = None,
        admins_pass: bool = False,
    ) -> None:
        if not (secrets and all(secrets)):
            raise ValueError("an openwebui identity needs a secret that is not empty")
        self.introspect = introspect
        self.introspection_cache: IntrospectionCache = IntrospectionCache()
        self._number = number
        self._secrets = secrets
        self._user_ids = user_ids
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
            if self.is_signed(credential):
                self._verify(credential, now)
            elif not _API_KEY.fullmatch(credential):
                raise refusal("unknown_key")
            return CredentialLookup(self.kind, self._number, credential, source)
        if credential.startswith(API_KEY_START):
            raise refusal("api_key_unsupported")
        user_id, expires_at = self._verify(credential, now)
        until = now + MAX_SECONDS
        if expires_at is not None:
            until = min(until, expires_at)
        self._credential_cache.put(digest, user_id, until)
        return AuthenticatedUser(user_id, until)

    def is_signed(self, credential: bytes) -> bool:
        return not credential.startswith(API_KEY_START)

    def confirm(self, credential: bytes, openwebui_id: object, now: int, role: str = "user") -> AuthenticatedUser:
        """Record that Open WebUI names this user and role for a credential. Raises `NotAuthenticated`."""
        user_id = self._user_ids.of(openwebui_id)
        expires_at = None
        if self.is_signed(credential):
            signed_for, expires_at = self._verify(credential, now)
            if signed_for != user_id:
                raise refusal("wrong_user")
        administrator = self._admins_pass and role == "admin"
        return self.introspection_cache.confirm(
            digest_of(credential), user_id, now, expires_at, administrator=administrator
        )

    def _verify(self, token: bytes, now: int) -> tuple[str, int | None]:
        """The user of a session and the second at which it expires: claim `id`; `typ`, if present, is `session`."""
        try:
            claims, expires_at = jwt.verify(token, self._secrets, now)
            user_id = self._user_ids.of(claims.get("id"))
        except NotAuthenticated as exc:
            if exc.code in ("malformed_token", "wrong_algorithm") and jwt.is_signed(token, self._secrets):
                exc.app_may_accept = True
            raise
        if claims.get("typ", "session") != "session":
            raise NotAuthenticated("the token is not a session's", code="wrong_token_type")
        return user_id, None if expires_at is None else expires_at + jwt.SKEW_SECONDS


def prepare(entry: OpenWebUIIdentity, context: VerifierContext) -> PreparedVerifier:
    """All entries of this kind in one app share one verifier with the secrets of each."""
    found: Secrets = ()
    introspect: str | None = None
    admins_pass = False
    numbers: list[int] = []
    for number, each in enumerate(context.app.identity):
        if isinstance(each, OpenWebUIIdentity):
            numbers.append(number)
            introspect = introspect or each.introspect
            admins_pass = admins_pass or each.admins == "pass"
            if not context.secrets.get(each.secret):
                problem = f"app {context.app.app_id}: identity openwebui: its secret {each.secret} is missing or empty"
                raise ConfigError([problem])
            found += context.secrets[each.secret]
    raw = tuple(secret.reveal().encode() for secret in found)
    make = partial(OpenWebUIVerifier, numbers[0], raw, context.user_ids, introspect, admins_pass)
    return PreparedVerifier((numbers[0], found, context.user_ids, introspect, admins_pass), make)
