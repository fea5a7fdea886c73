"""Cache of introspection results: credentials that only their issuer (Open WebUI, LiteLLM) can verify. Pure."""

from __future__ import annotations

import hashlib

from gateway.access.authentication import NOT_ACTIVATED, Administrator, AuthenticatedUser
from gateway.access.credential_cache import CredentialCache
from gateway.errors import NotAuthenticated

FRESH_SECONDS = 30
NOT_ACTIVATED_SECONDS = 5
"""How long the rejection of an account that waits for its activation is cached."""
STALE_SECONDS = 3600
STALE_RECHECK_SECONDS = 5
"""While the issuer does not answer: how long the last good result is used before the issuer is asked again."""
_MAX_CONFIRMED = 65_536


REASONS = {
    "revoked": "the session was ended; sign in again",
    NOT_ACTIVATED: "this account waits to be activated",
    "unknown_key": "this key is unknown or was revoked",
    "wrong_user": "the session is not this user's",
    "api_key_unsupported": "API keys are not accepted here; use a session",
}
"""Code → why a well-formed credential was rejected."""


def refusal(code: str) -> NotAuthenticated:
    """The error for one of the codes in `REASONS`."""
    return NotAuthenticated(REASONS.get(code, "the credential does not verify"), code=code)


class IntrospectionCache:
    """Results by the credentials' digests: each is used for 30 s, and for an hour while the issuer does not answer.
    Whether the user is an administrator is cached as well."""

    def __init__(self) -> None:
        self.fresh = CredentialCache(_MAX_CONFIRMED)
        self.last = CredentialCache(_MAX_CONFIRMED)
        self._administrators = CredentialCache(_MAX_CONFIRMED)
        self._refused = CredentialCache(_MAX_CONFIRMED)

    @property
    def credential_caches(self) -> tuple[CredentialCache, ...]:
        return self.fresh, self.last, self._administrators, self._refused

    def get(self, digest: bytes, now: int) -> AuthenticatedUser | None:
        """The result of the last 30 s."""
        return self._with_role(digest, self.fresh.get(digest, now), now)

    def check(self, digest: bytes, now: int) -> None:
        """Raise `NotAuthenticated` for a credential rejected within the last 30 s (5 s if it waits for activation)."""
        refused = self._refused.get(digest, now)
        if refused is not None:
            raise refusal(refused.user_id)

    def confirm(
        self, digest: bytes, user_id: str, now: int, expires_at: int | None = None, *, administrator: bool = False
    ) -> AuthenticatedUser:
        """Record the user that the issuer named. The result is not used after `expires_at`."""
        fresh, last = now + FRESH_SECONDS, now + STALE_SECONDS
        if expires_at is not None:
            fresh, last = min(fresh, expires_at), min(last, expires_at)
        self.fresh.put(digest, user_id, fresh)
        self.last.put(digest, user_id, last)
        if administrator:
            self._administrators.put(digest, user_id, last)
            return Administrator(user_id, fresh)
        self._administrators.forget(digest)
        return AuthenticatedUser(user_id, fresh)

    def refuse(self, digest: bytes, code: str, now: int) -> None:
        """Record that the issuer rejected the credential; `code` says why."""
        self._refused.put(digest, code, now + (NOT_ACTIVATED_SECONDS if code == NOT_ACTIVATED else FRESH_SECONDS))
        self.fresh.forget(digest)
        self.last.forget(digest)
        self._administrators.forget(digest)

    def last_user_id(self, digest: bytes, now: int) -> str | None:
        """The user of the last result, if it was within the hour."""
        cached = self.last.get(digest, now)
        return None if cached is None else cached.user_id

    def is_administrator(self, digest: bytes, now: int) -> bool:
        """Whether the last result was an administrator."""
        return self._administrators.get(digest, now) is not None

    def last_known_good(self, digest: bytes, now: int) -> AuthenticatedUser | None:
        """The last result while the issuer does not answer, if it was within the hour."""
        cached = self.last.get(digest, now)
        if cached is None or cached.credential_expires_at is None:
            return None
        until = min(now + STALE_RECHECK_SECONDS, cached.credential_expires_at)
        self.fresh.put(digest, cached.user_id, until)
        return self._with_role(digest, AuthenticatedUser(cached.user_id, until), now)

    def _with_role(self, digest: bytes, known: AuthenticatedUser | None, now: int) -> AuthenticatedUser | None:
        return known if known is None or not self.is_administrator(digest, now) else Administrator(*known)


def digest_of(credential: bytes) -> bytes:
    """By which a credential is remembered, so that none is kept."""
    return hashlib.sha256(credential).digest()
