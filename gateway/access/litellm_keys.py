"""LiteLLM's virtual keys: only LiteLLM knows whose they are. Pure."""

from __future__ import annotations

from gateway.access.confirmed import Confirmed, digest_of, refusal
from gateway.access.remembered import Remembered
from gateway.access.user_ids import Ids
from gateway.access.who import Ask, Known


class LiteLLMKeys:
    """`template` is how the app's ids become LiteLLM's, with `{user_id}` left in it; here it is read backwards."""

    def __init__(self, number: int, template: str, ids: Ids) -> None:
        self.confirmed = Confirmed()
        self._number = number
        self._start, _, self._end = template.partition("{user_id}")
        self._ids = ids

    @property
    def memories(self) -> tuple[Remembered, ...]:
        return self.confirmed.memories

    def read(self, credential: bytes, source: str, now: int) -> Known | Ask:
        """The `Ask` holds the key's SHA-256 in hex, by which LiteLLM keeps it: the key itself goes nowhere."""
        digest = digest_of(credential)
        held = self.confirmed.get(digest, now)
        if held is not None:
            return held
        self.confirmed.check(digest, now)
        return Ask("litellm_key", self._number, digest.hex().encode(), source)

    def confirm(self, key_hash: bytes, litellm_id: object, now: int, expires_at: int | None) -> Known:
        """LiteLLM says that the key is this user's of its own. Raises `NotAuthenticated`."""
        return self.confirmed.confirm(digest_in(key_hash), self._user_of(litellm_id), now, expires_at)

    def _user_of(self, litellm_id: object) -> str:
        start, end = self._start, self._end
        if isinstance(litellm_id, str) and litellm_id.startswith(start) and litellm_id.endswith(end):
            return self._ids.of(litellm_id[len(start) : len(litellm_id) - len(end)], "unknown_key")
        raise refusal("unknown_key")


def digest_in(key_hash: bytes) -> bytes:
    """By which what an `Ask` holds is remembered."""
    return bytes.fromhex(key_hash.decode("ascii"))
