"""Refuses an apps.json that lacks an app or a tier which users have."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.catalog.model import Catalog
from gateway.errors import ConfigError
from gateway.store import entitlements
from gateway.store.reader import Reads


async def refuse_removed_tiers(store: Reads, catalog: Catalog, apps_file: str) -> None:
    """Raise `ConfigError` if an app or a tier that users have was removed: a typing error must not cut users off."""
    check_removed_tiers(await store.read(entitlements.tiers_in_use), catalog, apps_file)


def check_removed_tiers(in_use: Mapping[tuple[str, str], int], catalog: Catalog, apps_file: str) -> None:
    """The same from the number of users of each (app_id, tier_id)."""
    removed = []
    for (app_id, tier_id), count in in_use.items():
        app = catalog.app(app_id)
        where = f"{apps_file}: {app_id}"
        if app is None:
            removed.append(f"{where}: the app was removed, but {count} of its users have {tier_id!r}; put it back")
        elif app.tier(tier_id) is None:
            removed.append(
                f"{where}: the tier {tier_id!r} was removed, but {count} users have it; put it back, "
                f'or add "was": ["{tier_id}"] to the tier that takes its place'
            )
    if removed:
        raise ConfigError(removed)
