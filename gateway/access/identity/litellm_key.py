"""Verifier of `litellm_key`: LiteLLM's virtual keys, about which LiteLLM is asked. Pure."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from gateway.access.authentication import AuthenticatedUser, CredentialLookup
from gateway.access.credential_cache import CredentialCache
from gateway.access.identity.verifier import CredentialVerifier, PreparedVerifier, VerifierContext
from gateway.access.introspection_cache import IntrospectionCache, digest_of, refusal
from gateway.access.user_id_mapping import UserIdMapping
from gateway.catalog.identity import LiteLLMKeyIdentity
from gateway.catalog.litellm_id import LiteLLMIdTemplate


class LiteLLMKeyVerifier(CredentialVerifier):
    """`template` makes LiteLLM's ids from the app's; here it is applied in reverse."""

    kind: ClassVar[str] = LiteLLMKeyIdentity.kind
    app_reads_other_schemes: ClassVar[bool] = True

    def __init__(self, number: int, template: LiteLLMIdTemplate, user_ids: UserIdMapping) -> None:
        self.introspection_cache: IntrospectionCache = IntrospectionCache()
        self._number = number
        self._template = template
        self._user_ids = user_ids

    @property
    def credential_caches(self) -> tuple[CredentialCache, ...]:
        return self.introspection_cache.credential_caches

    def read(self, credential: bytes, source: str, now: int) -> AuthenticatedUser | CredentialLookup:
        """A `CredentialLookup` contains the key's SHA-256 in hex, by which LiteLLM stores it; never the key itself."""
        digest = digest_of(credential)
        cached = self.introspection_cache.get(digest, now)
        if cached is not None:
            return cached
        self.introspection_cache.check(digest, now)
        return CredentialLookup(self.kind, self._number, digest.hex().encode(), source)

    def lookup_digest(self, lookup: CredentialLookup) -> bytes:
        return bytes.fromhex(lookup.credential.decode("ascii"))

    def confirm(
        self, lookup: CredentialLookup, litellm_id: object, now: int, expires_at: int | None
    ) -> AuthenticatedUser:
        """Record that LiteLLM names this user of its own as the key's owner. Raises `NotAuthenticated`."""
        user_id = self._user_of(litellm_id)
        return self.introspection_cache.confirm(self.lookup_digest(lookup), user_id, now, expires_at)

    def _user_of(self, litellm_id: object) -> str:
        user_id = self._template.user_id(litellm_id)
        if user_id is None:
            raise refusal("unknown_key")
        return self._user_ids.of(user_id, "unknown_key")


def prepare(entry: LiteLLMKeyIdentity, context: VerifierContext) -> PreparedVerifier:
    app, number = context.app, context.number
    arguments = (number, app.litellm_id_template, context.user_ids)
    return PreparedVerifier(arguments, partial(LiteLLMKeyVerifier, *arguments))
