"""Idempotency keys as API v1 keeps them: the first saved answer is replayed for 24 hours, errors 500 included."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.sandbox.stripe.account_state import DAY
from gateway.sandbox.stripe.refusal import ApiError, invalid

_LONGEST = 255


@dataclass
class Saved:
    """What was asked under a key, and what was answered once it was."""

    method: str
    path: str
    fingerprint: str
    begun_at: int
    status: int | None = None
    body: bytes = b""
    request_id: str = ""


class Keys:
    """One account's keys."""

    def __init__(self) -> None:
        self._saved: dict[str, Saved] = {}

    def begin(self, key: str, method: str, path: str, fingerprint: str, now: int) -> Saved:
        """The entry of a key. With a status: replay it. Without: do the request, then `finish` or `forget` it.

        400 idempotency_error for other parameters under the key, 409 while its first request is running.
        """
        if len(key) > _LONGEST:
            raise invalid(f"Idempotency keys may be at most {_LONGEST} characters long.")
        saved = self._saved.get(key)
        if saved is None or saved.begun_at < now - DAY:
            return Saved(method, path, fingerprint, now)
        if (saved.method, saved.path) != (method, path):
            raise _misused(f"for the same endpoint they were first used for ('{saved.path}')", key)
        if saved.fingerprint != fingerprint:
            raise _misused("with the same parameters they were first used with", key)
        if saved.status is None:
            raise ApiError(
                409,
                "There is currently another in-progress request using this Idempotent Key (that probably means you "
                f"submitted twice, and the other request is still going through): {key}. Please try again later.",
                kind="idempotency_error",
                code="idempotency_key_in_use",
            )
        return saved

    def hold(self, key: str, saved: Saved) -> None:
        """The request is valid and starts: from here on the key is in use."""
        self._saved[key] = saved

    def forget(self, key: str) -> None:
        """Release the key: nothing is saved."""
        self._saved.pop(key, None)


def _misused(how: str, key: str) -> ApiError:
    return ApiError(
        400,
        f"Keys for idempotent requests can only be used {how}. Try using a key other than '{key}' if you meant to "
        "execute a different request.",
        kind="idempotency_error",
    )
