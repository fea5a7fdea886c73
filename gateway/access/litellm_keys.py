"""LiteLLM's virtual keys: only LiteLLM knows whose they are. Pure."""

from __future__ import annotations

from gateway.access.authentication import AuthenticatedUser, CredentialLookup
from gateway.access.credential_cache import CredentialCache
from gateway.access.introspection_cache import IntrospectionCache, digest_of, refusal
from gateway.access.user_ids import UserIdMapping


class LiteLLMKeys:
    """`template` is how the app's ids become LiteLLM's, with `{user_id}` left in it; here it is read backwards."""

    def __init__(self, number: int, template: str, ids: UserIdMapping) -> None:
        self.introspection_cache = IntrospectionCache()
        self._number = number
        self._start, _, self._end = template.partition("{user_id}")
        self._ids = ids

    @property
    def credential_caches(self) -> tuple[CredentialCache, ...]:
        return self.introspection_cache.credential_caches

    def read(self, credential: bytes, source: str, now: int) -> AuthenticatedUser | CredentialLookup:
        """The `CredentialLookup` holds the key's SHA-256 in hex, by which LiteLLM stores it; never the key itself."""
        digest = digest_of(credential)
        cached = self.introspection_cache.get(digest, now)
        if cached is not None:
            return cached
        self.introspection_cache.check(digest, now)
        return CredentialLookup("litellm_key", self._number, digest.hex().encode(), source)

    def confirm(self, key_hash: bytes, litellm_id: object, now: int, expires_at: int | None) -> AuthenticatedUser:
        """LiteLLM says that the key is this user's of its own. Raises `NotAuthenticated`."""
        return self.introspection_cache.confirm(digest_from_hex(key_hash), self._user_of(litellm_id), now, expires_at)

    def _user_of(self, litellm_id: object) -> str:
        start, end = self._start, self._end
        if isinstance(litellm_id, str) and litellm_id.startswith(start) and litellm_id.endswith(end):
            return self._ids.of(litellm_id[len(start) : len(litellm_id) - len(end)], "unknown_key")
        raise refusal("unknown_key")


def digest_from_hex(key_hash: bytes) -> bytes:
    """By which what an `CredentialLookup` holds is remembered."""
    return bytes.fromhex(key_hash.decode("ascii"))
