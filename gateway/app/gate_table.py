"""The gate's tier table beside the store: filled from it, and told of each change while it is being filled too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.access.table import TierTable
from gateway.catalog.model import Catalog
from gateway.store import Store, entitlements

ROWS_A_CHUNK = 5_000


class GateTable:
    """`table` is what the gate reads; only this changes it.

    `changed(app_id, user_id)` is called in the same step of the loop in which somebody's tier becomes another one.
    """

    def __init__(self, changed: Callable[[str, str], None]) -> None:
        self.table = TierTable()
        self._changed = changed
        self._told: dict[tuple[str, str], str] | None = None

    async def load(self, store: Store, catalog: Catalog) -> None:
        """Every user's tier, in slices that let the loop run in between; the old rows serve until the last."""
        rows: dict[str, list[tuple[str, str]]] = {app_id: [] for app_id in catalog.apps}
        # Whoever changes tier after the snapshot was taken must not get the old one back from it.
        told = self._told = {}
        try:
            stored = await store.read(lambda conn: list(entitlements.each(conn, ROWS_A_CHUNK)))
            for app_id, user_id, tier_id, _ in stored:
                app = catalog.app(app_id)
                if app is not None and (tier := app.tier(tier_id)) is not None:
                    rows[app_id].append((user_id, tier.tier_id))
            for app_id, users in rows.items():
                users += [(user_id, tier_id) for (told_of, user_id), tier_id in told.items() if told_of == app_id]
                for _ in self.table.load(app_id, users):
                    await asyncio.sleep(0)
        finally:
            self._told = None

    def tell(self, app_id: str, user_id: str, tier_id: str) -> None:
        """This user's tier, from the next request on."""
        before = self.table.tier_of(app_id, user_id, "")
        self.table.set(app_id, user_id, tier_id)
        if before != tier_id:
            self._changed(app_id, user_id)
        if self._told is not None:
            self._told[app_id, user_id] = tier_id

    def forget(self, app_id: str, user_id: str, default_tier_id: str) -> None:
        """Nothing is known of this user any more, so they have the default tier."""
        self.table.remove(app_id, user_id)
        self._changed(app_id, user_id)
        if self._told is not None:
            # The load that is under way may have read the tier that was forgotten.
            self._told[app_id, user_id] = default_tier_id
