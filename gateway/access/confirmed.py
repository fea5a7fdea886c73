"""What others have said of credentials that only they can tell of: Open WebUI, LiteLLM. Pure."""

from __future__ import annotations

import hashlib

from gateway.access.remembered import Remembered
from gateway.access.who import NOT_ACTIVATED, Administrator, Known
from gateway.errors import NotAuthenticated

FRESH_SECONDS = 30
WAITING_SECONDS = 5
"""For how long a refusal counts of an account that waits for its activation."""
LAST_GOOD_SECONDS = 3600
AGAIN_SECONDS = 5
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


class Confirmed:
    """What somebody else has said of credentials, by their digests: for 30 s as it is; for an hour, whom they said
    last, for the time in which they do not answer. Who is an administrator is remembered with it."""

    def __init__(self) -> None:
        self.fresh = Remembered(_MAX_CONFIRMED)
        self.last = Remembered(_MAX_CONFIRMED)
        self._administrators = Remembered(_MAX_CONFIRMED)
        self._refused = Remembered(_MAX_CONFIRMED)

    @property
    def memories(self) -> tuple[Remembered, ...]:
        return self.fresh, self.last, self._administrators, self._refused

    def get(self, digest: bytes, now: int) -> Known | None:
        """What they said within the last 30 s."""
        return self._with_role(digest, self.fresh.get(digest, now), now)

    def check(self, digest: bytes, now: int) -> None:
        """Raise `NotAuthenticated` for what was refused within the last 30 s (5 s where it waits for activation)."""
        refused = self._refused.get(digest, now)
        if refused is not None:
            raise refusal(refused.user_id)

    def confirm(
        self, digest: bytes, user_id: str, now: int, expires_at: int | None = None, *, administrator: bool = False
    ) -> Known:
        """They said whose it is. `expires_at`: it is nobody's from then on, whatever they said."""
        fresh, last = now + FRESH_SECONDS, now + LAST_GOOD_SECONDS
        if expires_at is not None:
            fresh, last = min(fresh, expires_at), min(last, expires_at)
        self.fresh.put(digest, user_id, fresh)
        self.last.put(digest, user_id, last)
        if administrator:
            self._administrators.put(digest, user_id, last)
            return Administrator(user_id, fresh)
        self._administrators.forget(digest)
        return Known(user_id, fresh)

    def refuse(self, digest: bytes, code: str, now: int) -> None:
        """They said that it is nobody's, and why."""
        self._refused.put(digest, code, now + (WAITING_SECONDS if code == NOT_ACTIVATED else FRESH_SECONDS))
        self.fresh.forget(digest)
        self.last.forget(digest)
        self._administrators.forget(digest)

    def whose(self, digest: bytes, now: int) -> str | None:
        """Whom they said last, if that was within the hour."""
        held = self.last.get(digest, now)
        return None if held is None else held.user_id

    def is_administrator(self, digest: bytes, now: int) -> bool:
        """Whether they said last that it is an administrator's."""
        return self._administrators.get(digest, now) is not None

    def unanswered(self, digest: bytes, now: int) -> Known | None:
        """They do not answer: whom they said last, if that was within the hour."""
        held = self.last.get(digest, now)
        if held is None or held.credential_expires_at is None:
            return None
        until = min(now + AGAIN_SECONDS, held.credential_expires_at)
        self.fresh.put(digest, held.user_id, until)
        return self._with_role(digest, Known(held.user_id, until), now)

    def _with_role(self, digest: bytes, known: Known | None, now: int) -> Known | None:
        return known if known is None or not self.is_administrator(digest, now) else Administrator(*known)


def digest_of(credential: bytes) -> bytes:
    """By which a credential is remembered, so that none is kept."""
    return hashlib.sha256(credential).digest()
