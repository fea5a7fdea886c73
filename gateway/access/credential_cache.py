"""Cache of verified credentials: verifying one takes longer than the rest of a request. Pure."""

from __future__ import annotations

import sys

from gateway.access.authentication import AuthenticatedUser

MAX_SECONDS = 3600
_SHARDS = 256


class CredentialCache:
    """Digest of a credential → (user_id, until). One for each app and set of secrets: a new secret starts an empty one.

    Bounded: each of 256 shards has a current and a previous half; a full current half becomes the previous one, and
    entries in use move to the current half when they are next read. No step touches more than 1/512 of it, so none
    blocks the event loop (one dict of a million entries takes 0.1 s to grow). Values are plain `str` and `int` in
    separate dicts, which the garbage collector does not track.
    """

    def __init__(self, max_entries: int = 262_144) -> None:
        self._half = max(1, max_entries // (2 * _SHARDS))
        self._current: list[tuple[dict[bytes, str], dict[bytes, int]]] = [({}, {}) for _ in range(_SHARDS)]
        self._previous: list[tuple[dict[bytes, str], dict[bytes, int]]] = [({}, {}) for _ in range(_SHARDS)]
        self._until = 0

    def get(self, digest: bytes, now: int) -> AuthenticatedUser | None:
        """The user and until when the entry is valid; None if there is no valid entry."""
        shard = digest[0]
        users, untils = self._current[shard]
        until = untils.get(digest)
        if until is None:
            users, untils = self._previous[shard]
            until = untils.pop(digest, None)
            if until is None:
                return None
            user_id = users.pop(digest)
            if until > now:
                self._keep(shard, digest, user_id, until)
                return AuthenticatedUser(user_id, until)
            return None
        if until <= now:
            del users[digest], untils[digest]
            return None
        return AuthenticatedUser(users[digest], until)

    def put(self, digest: bytes, user_id: str, until: int) -> None:
        """Cache until `until` (epoch seconds); the caller limits it."""
        # Most entries of one second share one int, which saves 28 bytes each.
        if until == self._until:
            until = self._until
        else:
            self._until = until
        self._keep(digest[0], digest, user_id, until)

    def forget(self, digest: bytes) -> None:
        """Remove the entry, if there is one."""
        for half in (self._previous, self._current):
            users, untils = half[digest[0]]
            users.pop(digest, None)
            untils.pop(digest, None)

    def _keep(self, shard: int, digest: bytes, user_id: str, until: int) -> None:
        users, untils = self._current[shard]
        if len(users) >= self._half and digest not in users:
            self._previous[shard] = (users, untils)
            users, untils = self._current[shard] = ({}, {})
        users[digest] = user_id
        untils[digest] = until

    def __len__(self) -> int:
        return sum(len(users) for half in (self._current, self._previous) for users, _ in half)

    def bytes_used(self) -> int:
        """An estimate from one entry of each shard and the dicts' own sizes; 1 ms at a million entries."""
        total = 0
        for half in (self._current, self._previous):
            for users, untils in half:
                total += sys.getsizeof(users) + sys.getsizeof(untils)
                for digest, user_id in users.items():
                    total += len(users) * (sys.getsizeof(digest) + sys.getsizeof(user_id) + sys.getsizeof(0))
                    break
        return total
