"""The gate's tier table beside the store: filled from it, and told of each change while it is being filled too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sqlalchemy import Connection

from gateway.access.table import Row, TierTable
from gateway.catalog.model import Catalog
from gateway.store import Store, entitlements

ROWS_A_CHUNK = 5_000


class GateTable:
    """`table` is what the gate reads; only this changes it.

    `changed(app_id, user_id)` is called in the same step of the loop in which somebody's tier, or the
    instant at which it ends, becomes another one.
    """

    def __init__(self, changed: Callable[[str, str], None]) -> None:
        self.table = TierTable()
        self._changed = changed
        self._told: dict[tuple[str, str], tuple[str, int | None]] | None = None

    async def load(self, store: Store, catalog: Catalog) -> None:
        """Every user's tier, in slices that let the loop run in between; the old rows serve until the last."""
        # Whoever changes tier after the snapshot was taken must not get the old one back from it.
        told = self._told = {}
        try:
            rows = await store.read(lambda conn: _rows(conn, catalog))
            for app_id, users in rows.items():
                users += [(user_id, *last) for (told_of, user_id), last in told.items() if told_of == app_id]
                for _ in self.table.load(app_id, users):
                    await asyncio.sleep(0)
        finally:
            self._told = None

    def tell(self, app_id: str, user_id: str, tier_id: str, changes_at: int | None) -> None:
        """This user's tier, from the next request on, and when the clock alone will change it."""
        before = self.table.tier_of(app_id, user_id, ""), self.table.changes_at(app_id, user_id)
        self.table.set(app_id, user_id, tier_id, changes_at)
        if before != (tier_id, changes_at):
            self._changed(app_id, user_id)
        if self._told is not None:
            self._told[app_id, user_id] = tier_id, changes_at

    def forget(self, app_id: str, user_id: str, default_tier_id: str) -> None:
        """Nothing is known of this user any more, so they have the default tier."""
        self.table.remove(app_id, user_id)
        self._changed(app_id, user_id)
        if self._told is not None:
            # The load that is under way may have read the tier that was forgotten.
            self._told[app_id, user_id] = default_tier_id, None


def _rows(conn: Connection, catalog: Catalog) -> dict[str, list[Row]]:
    """Every user by app. A tier's former id stays as it is: the gate may still answer by the catalog before."""
    rows: dict[str, list[Row]] = {app_id: [] for app_id in catalog.apps}
    known = {
        (app.app_id, tier_id)
        for app in catalog.apps.values()
        for tier in app.tiers
        for tier_id in (tier.tier_id, *tier.was)
    }
    for app_id, user_id, tier_id, until_at in entitlements.each(conn, ROWS_A_CHUNK):
        if (app_id, tier_id) in known:
            rows[app_id].append((user_id, tier_id, until_at))
    return rows
