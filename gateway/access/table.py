"""The tier table: the tier of every known user, in memory, so that no gate request reads the database. Pure."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

_SHARDS = 256
_ROWS_AT_ONCE = 500

Row = tuple[str, str, int | None]
"""(user_id, tier_id, changes_at)"""


class _Users:
    """The users of one app. `instants` has only those whose tier changes at a known time."""

    __slots__ = ("instants", "tiers")

    def __init__(self) -> None:
        self.tiers: list[dict[str, str]] = [{} for _ in range(_SHARDS)]
        self.instants: list[dict[str, int]] = [{} for _ in range(_SHARDS)]

    def set(self, user_id: str, tier_id: str, changes_at: int | None) -> None:
        shard = hash(user_id) & 255
        self.tiers[shard][user_id] = sys.intern(tier_id)
        if changes_at is not None:
            self.instants[shard][user_id] = changes_at
        else:
            self.instants[shard].pop(user_id, None)

    def remove(self, user_id: str) -> None:
        shard = hash(user_id) & 255
        self.tiers[shard].pop(user_id, None)
        self.instants[shard].pop(user_id, None)


class TableLoad:
    """The next users of an app while they are loaded; 1 000 rows take less than a millisecond."""

    def __init__(self) -> None:
        self.users = _Users()
        self._overridden: set[str] = set()

    def add(self, rows: Iterable[Row]) -> None:
        """Add rows read from the store since the load began; they never replace newer values from `set` and
        `remove`."""
        touched, put = self._overridden, self.users.set
        for user_id, tier_id, changes_at in rows:
            if user_id not in touched:
                put(user_id, tier_id, changes_at)

    def set(self, user_id: str, tier_id: str, changes_at: int | None) -> None:
        """Set a user; takes precedence over rows."""
        self._overridden.add(user_id)
        self.users.set(user_id, tier_id, changes_at)

    def remove(self, user_id: str) -> None:
        """Remove a user; takes precedence over rows."""
        self._overridden.add(user_id)
        self.users.remove(user_id)


class TierTable:
    """(app_id, user_id) → tier_id. Shared tier ids in plain dicts: about 130 bytes a user, not tracked by the garbage
    collector.

    Each app has 256 dicts, because growing one dict past a million entries blocks the event loop for 0.1 s; a shard
    takes under 1 ms. `changes_at` is the epoch second at which a tier ends without an event, None for never.
    """

    def __init__(self) -> None:
        self._apps: dict[str, _Users] = {}
        self._loading: dict[str, TableLoad] = {}
        # Increases with every change: a value read at the same version is still current.
        self.version = 0

    def tier_of(self, app_id: str, user_id: str, default: str) -> str:
        """The user's tier, or `default` for a user who is not in the table."""
        users = self._apps.get(app_id)
        return default if users is None else users.tiers[hash(user_id) & 255].get(user_id, default)

    def changes_at(self, app_id: str, user_id: str) -> int | None:
        """When the user's tier changes without an event."""
        users = self._apps.get(app_id)
        return None if users is None else users.instants[hash(user_id) & 255].get(user_id)

    def contains(self, app_id: str, user_id: str) -> bool:
        """Whether the user is in the table, on any tier."""
        users = self._apps.get(app_id)
        return users is not None and user_id in users.tiers[hash(user_id) & 255]

    def set(self, app_id: str, user_id: str, tier_id: str, changes_at: int | None = None) -> None:
        """Set one user's tier."""
        self.version += 1
        users = self._apps.get(app_id)
        if users is None:
            users = self._apps[app_id] = _Users()
        users.set(user_id, tier_id, changes_at)
        if app_id in self._loading:
            self._loading[app_id].set(user_id, tier_id, changes_at)

    def remove(self, app_id: str, user_id: str) -> None:
        """Remove one user, if they are in the table."""
        self.version += 1
        if app_id in self._apps:
            self._apps[app_id].remove(user_id)
        if app_id in self._loading:
            self._loading[app_id].remove(user_id)

    def load(self, app_id: str) -> TableLoad:
        """Begin to replace an app's users. Until `finish` the old ones are served; `set` and `remove` in the meantime
        take precedence over the rows added. Another load for the same app supersedes this one."""
        loading = self._loading[app_id] = TableLoad()
        return loading

    def finish(self, app_id: str, loading: TableLoad) -> list[object]:
        """Serve the new users. The caller frees the returned objects one at a time: freeing a million entries at once
        would block the event loop. A load that was discarded or superseded changes nothing."""
        if self._loading.get(app_id) is not loading:
            return []
        del self._loading[app_id]
        self.version += 1
        old = self._apps.get(app_id)
        self._apps[app_id] = loading.users
        return [] if old is None else [*old.tiers, *old.instants]

    def discard_load(self, app_id: str, loading: TableLoad) -> None:
        """Keep the old users. Does nothing after `finish`."""
        if self._loading.get(app_id) is loading:
            del self._loading[app_id]

    def replace(self, app_id: str, rows: Iterable[Row]) -> None:
        """Replace all of an app's users at once."""
        loading = self.load(app_id)
        loading.add(rows)
        self.finish(app_id, loading)

    def drop(self, app_id: str) -> None:
        """Remove an app."""
        self.version += 1
        self._apps.pop(app_id, None)

    def rows(self, app_id: str) -> Iterator[list[Row]]:
        """Every user of an app, 500 at most in each list. The table may change between two lists: such a user is
        contained with the old or the new value, or not at all if removed."""
        for shard in range(_SHARDS):
            users = self._apps.get(app_id)
            if users is None:
                return
            instants, items = users.instants[shard], list(users.tiers[shard].items())
            for start in range(0, len(items), _ROWS_AT_ONCE):
                some = items[start : start + _ROWS_AT_ONCE]
                yield [(user_id, tier_id, instants.get(user_id)) for user_id, tier_id in some]

    def app_ids(self) -> list[str]:
        """The apps with users in the table."""
        return list(self._apps)

    def count(self, app_id: str) -> int:
        """The number of users of an app."""
        users = self._apps.get(app_id)
        return 0 if users is None else sum(map(len, users.tiers))

    def bytes_used(self, app_id: str) -> int:
        """The size of the dicts and their ids, estimated from one id of each shard."""
        users = self._apps.get(app_id)
        if users is None:
            return 0
        total = sum(map(sys.getsizeof, users.instants))
        for shard in users.tiers:
            total += sys.getsizeof(shard) + len(shard) * sys.getsizeof(next(iter(shard), ""))
        return total
