"""The apps that the use cases serve, as installed last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.catalog.model import App, Catalog, Tier
from gateway.catalog.secret_ref import SecretRef
from gateway.errors import NotFound
from gateway.settings import Secrets


@dataclass(slots=True)
class InstalledApps:
    """Each field is replaced whole by a reload, never changed in place.

    `secrets`: every secret that `catalog` names, newest first. `key_hashes`: app id → SHA-256 of each key that its
    backend may use, from apps.json and from `skpay keys create`.
    """

    catalog: Catalog
    secrets: Mapping[SecretRef, Secrets] = field(default_factory=dict)
    key_hashes: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)

    def app(self, app_id: str) -> App:
        """Raises `NotFound`."""
        app = self.catalog.app(app_id)
        if app is None:
            raise NotFound(f"There is no app {app_id[:80]!r} in apps.json.", code="unknown_app")
        return app


def tier_of(app: App, tier_id: str) -> Tier:
    """A tier of `app` by its id. Raises `NotFound`."""
    tier = app.tier(tier_id)
    if tier is None:
        raise NotFound(
            f"{app.app_id} has no tier {tier_id[:80]!r}.",
            code="unknown_tier",
            fields={"tiers": [each.tier_id for each in app.tiers if not each.internal]},
        )
    return tier
