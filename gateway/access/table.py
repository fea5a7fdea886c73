"""The tier table: the tier of every user we know, in memory, so that no gate call reads a database. Pure."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import islice

_SHARDS = 256
_SLICE = 2000  # rows between two yields: under 1 ms each

_Shards = list[dict[str, str]]


def _empty() -> _Shards:
    return [{} for _ in range(_SHARDS)]


class TierTable:
    """(app_id, user_id) → tier_id. Shared tier ids and plain dicts: about 130 bytes a user, unseen by the collector.

    Each app has 256 dicts, because one dict that grows past a million entries holds the loop for 0.1 s; a shard
    takes under 1 ms.
    """

    def __init__(self) -> None:
        self._apps: dict[str, _Shards] = {}
        self._loading: dict[str, tuple[_Shards, set[str]]] = {}

    def tier_of(self, app_id: str, user_id: str, default: str) -> str:
        """The user's tier, or `default` for somebody who is not in the table."""
        shards = self._apps.get(app_id)
        return default if shards is None else shards[hash(user_id) & 255].get(user_id, default)

    def known(self, app_id: str, user_id: str) -> bool:
        """The user is in the table, on whatever tier."""
        shards = self._apps.get(app_id)
        return shards is not None and user_id in shards[hash(user_id) & 255]

    def set(self, app_id: str, user_id: str, tier_id: str) -> None:
        """One user's tier from now on."""
        shards = self._apps.setdefault(app_id, _empty())
        shards[hash(user_id) & 255][user_id] = sys.intern(tier_id)
        if app_id in self._loading:
            fresh, touched = self._loading[app_id]
            touched.add(user_id)
            fresh[hash(user_id) & 255][user_id] = sys.intern(tier_id)

    def remove(self, app_id: str, user_id: str) -> None:
        """Forget one user; nothing happens if they are not there."""
        if app_id in self._apps:
            self._apps[app_id][hash(user_id) & 255].pop(user_id, None)
        if app_id in self._loading:
            fresh, touched = self._loading[app_id]
            touched.add(user_id)
            fresh[hash(user_id) & 255].pop(user_id, None)

    def replace(self, app_id: str, rows: Iterable[tuple[str, str]]) -> None:
        """All of an app's (user_id, tier_id) at once; see `load` for the way that does not hold the loop."""
        for _ in self.load(app_id, rows):
            pass

    def load(self, app_id: str, rows: Iterable[tuple[str, str]], slice_rows: int = _SLICE) -> Iterator[int]:
        """Replace an app's users a slice at a time: iterate, and let the loop run between two steps.

        Until the last step the old users are served; what `set` and `remove` say meanwhile wins over `rows`. Yields
        the number of rows read so far. A load not run to its end, or overtaken by a later one, changes nothing.
        """
        fresh, touched = self._loading[app_id] = (_empty(), set())
        count, source = 0, iter(rows)
        try:
            while batch := list(islice(source, slice_rows)):
                for user_id, tier_id in batch:
                    if user_id not in touched:
                        fresh[hash(user_id) & 255][user_id] = sys.intern(tier_id)
                count += len(batch)
                yield count
            if self._loading.get(app_id, (None,))[0] is not fresh:
                return  # a later load of the same app has taken over
            old = self._apps.get(app_id, [])
            self._apps[app_id] = fresh
        finally:
            if self._loading.get(app_id, (None,))[0] is fresh:
                del self._loading[app_id]
        while old:  # a million entries freed in one go would be a pause too
            old.pop()
            yield count

    def drop(self, app_id: str) -> None:
        """Forget an app that is no more."""
        self._apps.pop(app_id, None)

    def count(self, app_id: str) -> int:
        """Users of an app in the table."""
        return sum(map(len, self._apps.get(app_id, ())))

    def bytes_used(self, app_id: str) -> int:
        """The dicts and the ids in them; an estimate from one id of each shard."""
        total = 0
        for shard in self._apps.get(app_id, ()):
            total += sys.getsizeof(shard) + len(shard) * sys.getsizeof(next(iter(shard), ""))
        return total
