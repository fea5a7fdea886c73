"""Locks of users within one process."""

from __future__ import annotations

import asyncio
import weakref


class UserLocks:
    """One purchase or deletion of a user at a time. A lock that nobody holds takes no memory."""

    def __init__(self) -> None:
        self._locks: weakref.WeakValueDictionary[tuple[str, str], asyncio.Lock] = weakref.WeakValueDictionary()

    def of(self, app_id: str, user_id: str) -> asyncio.Lock:
        return self._locks.setdefault((app_id, user_id), asyncio.Lock())
