"""The apps as the gate checks requests against them: rebuilt from the catalog, its secrets and the user keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.access.app_access import AppAccess, app_access
from gateway.access.jwks import KeyRing
from gateway.access.keys import KeyOwner
from gateway.catalog.model import Catalog
from gateway.catalog.secret_ref import SecretRef
from gateway.settings import Secrets


class GateApps:
    """As installed last. `access`: app id → the app; `owners`: every live user key by its hash."""

    def __init__(self) -> None:
        self.owners: Mapping[bytes, KeyOwner] = {}
        self._made_of: tuple[object, object] = (None, None)
        self.access: dict[str, AppAccess] = {}

    def replace(
        self,
        catalog: Catalog,
        secrets: Mapping[SecretRef, Secrets],
        owners: Mapping[bytes, KeyOwner],
        key_ring: Callable[[str], KeyRing],
    ) -> bool:
        """Rebuild `access`, keeping the caches of what did not change. `owners`: every live user key by its hash;
        `key_ring(url)`: an issuer's public keys.

        Whether nothing but user keys can have changed.
        """
        self.access = {
            app.app_id: app_access(app, secrets, owners, self.access.get(app.app_id), key_ring)
            for app in catalog.apps.values()
        }
        made_of = (catalog, secrets)
        only_keys = all(new is old for new, old in zip(made_of, self._made_of, strict=True))
        self._made_of, self.owners = made_of, owners
        return only_keys

    def access_of(self, app_id: str) -> AppAccess | None:
        """One app; None if it is not installed."""
        return self.access.get(app_id)
