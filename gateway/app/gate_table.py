"""Keeps the gate's tier table equal to the store: loaded from it, then updated with each change."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from functools import partial

from gateway.access.table import Row, TableLoad, TierTable
from gateway.catalog.model import App, Catalog
from gateway.store import entitlements
from gateway.store.reader import Reads

ROWS_A_CHUNK = 1_000

AppTier = tuple[str, str]
"""(app_id, tier_id)"""


class GateTable:
    """`table` is what the gate reads; only this changes it."""

    def __init__(self) -> None:
        self.table = TierTable()

    async def load(self, store: Reads, catalog: Catalog) -> None:
        """Load every user's tier in chunks, between which the event loop runs; the old table serves until the end."""
        for app in catalog.apps.values():
            loading = self.table.load(app.app_id)
            try:
                await _read(store, app, loading)
                old = self.table.finish(app.app_id, loading)
            finally:
                self.table.discard_load(app.app_id, loading)
            while old:
                old.pop()
                await asyncio.sleep(0)

    async def load_snapshot(
        self, catalog: Catalog, chunks: Iterable[tuple[str, Sequence[Row]]], check: Callable[[Counter[AppTier]], None]
    ) -> int:
        """Load tiers that were saved: (app_id, rows). `check` gets the number of users of each (app_id, tier_id); the
        table is unchanged if it raises. Returns how many users were loaded."""
        loading = {app.app_id: (self.table.load(app.app_id), known_tiers(app)) for app in catalog.apps.values()}
        counts: Counter[AppTier] = Counter()
        try:
            for app_id, rows in chunks:
                counts.update((app_id, row[1]) for row in rows)
                if app_id in loading:
                    load, known = loading[app_id]
                    load.add([row for row in rows if row[1] in known])
                await asyncio.sleep(0)
            check(counts)
            for app_id, (load, _) in loading.items():
                self.table.finish(app_id, load)
        finally:
            for app_id, (load, _) in loading.items():
                self.table.discard_load(app_id, load)
        return sum(map(self.table.count, loading))

    def drop_all_but(self, app_ids: Container[str]) -> None:
        """Remove the users of all other apps."""
        for app_id in self.table.app_ids():
            if app_id not in app_ids:
                self.table.drop(app_id)

    def publish(self, app_id: str, user_id: str, tier_id: str, changes_at: int | None) -> None:
        """This user's tier, from the next request on, and when the clock alone will change it."""
        self.table.set(app_id, user_id, tier_id, changes_at)

    def forget(self, app_id: str, user_id: str) -> None:
        """Remove the user from the table."""
        self.table.remove(app_id, user_id)


async def _read(store: Reads, app: App, loading: TableLoad) -> None:
    """Users of a tier that the app lacks get the default tier."""
    known = known_tiers(app)
    after = ""
    while rows := await store.read(partial(entitlements.page, app_id=app.app_id, after=after, limit=ROWS_A_CHUNK)):
        loading.add([row for row in rows if row[1] in known])
        after = rows[-1][0]


def known_tiers(app: App) -> set[str]:
    """Former ids of tiers are kept: the gate resolves them."""
    return {tier_id for tier in app.tiers for tier_id in (tier.tier_id, *tier.was)}
