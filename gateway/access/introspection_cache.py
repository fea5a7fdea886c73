"""What others have said of credentials that only they can tell of: Open WebUI, LiteLLM. Pure."""

from __future__ import annotations

import hashlib

from gateway.access.authentication import NOT_ACTIVATED, Administrator, AuthenticatedUser
from gateway.access.credential_cache import CredentialCache
from gateway.errors import NotAuthenticated

FRESH_SECONDS = 30
NOT_ACTIVATED_SECONDS = 5
"""For how long a refusal counts of an account that waits for its activation."""
STALE_SECONDS = 3600
STALE_RECHECK_SECONDS = 5
"""While those who know do not answer: how long one person's last good answer serves before they are asked again."""
_MAX_CONFIRMED = 65_536


REASONS = {
    "revoked": "the session was ended; sign in again",
    NOT_ACTIVATED: "this account waits to be activated",
    "unknown_key": "this key is unknown or was revoked",
    "wrong_user": "the session is not this user's",
    "api_key_unsupported": "API keys are not accepted here; use a session",
}
"""Why a credential that looks right is nobody's, by the code that says so."""


def refusal(code: str) -> NotAuthenticated:
    """The error that says so."""
    return NotAuthenticated(REASONS.get(code, "the credential does not verify"), code=code)


class IntrospectionCache:
    """What somebody else has said of credentials, by their digests: for 30 s as it is; for an hour, whom they said
    last, for the time in which they do not answer. Who is an administrator is remembered with it."""

    def __init__(self) -> None:
        self.fresh = CredentialCache(_MAX_CONFIRMED)
        self.last = CredentialCache(_MAX_CONFIRMED)
        self._administrators = CredentialCache(_MAX_CONFIRMED)
        self._refused = CredentialCache(_MAX_CONFIRMED)

    @property
    def credential_caches(self) -> tuple[CredentialCache, ...]:
        return self.fresh, self.last, self._administrators, self._refused

    def get(self, digest: bytes, now: int) -> AuthenticatedUser | None:
        """What they said within the last 30 s."""
        return self._with_role(digest, self.fresh.get(digest, now), now)

    def check(self, digest: bytes, now: int) -> None:
        """Raise `NotAuthenticated` for what was refused within the last 30 s (5 s where it waits for activation)."""
        refused = self._refused.get(digest, now)
        if refused is not None:
            raise refusal(refused.user_id)

    def confirm(
        self, digest: bytes, user_id: str, now: int, expires_at: int | None = None, *, administrator: bool = False
    ) -> AuthenticatedUser:
        """They said whose it is. `expires_at`: it is nobody's from then on, whatever they said."""
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
        """They said that it is nobody's, and why."""
        self._refused.put(digest, code, now + (NOT_ACTIVATED_SECONDS if code == NOT_ACTIVATED else FRESH_SECONDS))
        self.fresh.forget(digest)
        self.last.forget(digest)
        self._administrators.forget(digest)

    def last_user_id(self, digest: bytes, now: int) -> str | None:
        """Whom they said last, if that was within the hour."""
        cached = self.last.get(digest, now)
        return None if cached is None else cached.user_id

    def is_administrator(self, digest: bytes, now: int) -> bool:
        """Whether they said last that it is an administrator's."""
        return self._administrators.get(digest, now) is not None

    def last_known_good(self, digest: bytes, now: int) -> AuthenticatedUser | None:
        """They do not answer: whom they said last, if that was within the hour."""
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
