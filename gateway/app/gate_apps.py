"""The apps as the gate answers by them: made anew of the catalog, its secrets and the user keys, installed at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.access.app_access import AppAccess, app_access
from gateway.access.assertion import Signer
from gateway.access.jwks import KeyRing
from gateway.access.keys import KeyOwner
from gateway.catalog.model import Catalog, SecretRef
from gateway.gate import GateHandler
from gateway.settings import Secrets


class GateApps:
    """`access` is what was installed last. `key_ring` has the public keys at an address."""

    def __init__(self, gate: GateHandler, key_ring: Callable[[str], KeyRing]) -> None:
        self._gate = gate
        self._key_ring = key_ring
        self._owners: Mapping[str, KeyOwner] = {}
        self._made_of: tuple[object, object] = (None, None)
        self.access: dict[str, AppAccess] = {}

    def install(
        self,
        catalog: Catalog,
        secrets: Mapping[SecretRef, Secrets],
        owners: Mapping[str, KeyOwner],
        signer: Signer | None,
    ) -> None:
        """From the next request on. `owners`: every live user key by its hash. What has not changed goes on."""
        self.access = {
            app.app_id: app_access(app, secrets, owners, self.access.get(app.app_id), self._key_ring)
            for app in catalog.apps.values()
        }
        made_of = (catalog, secrets)
        # Whose keys came or went: both tables hold hash and owner.
        moved = {owner for _, owner in self._owners.items() ^ owners.items()}
        same = all(new is old for new, old in zip(made_of, self._made_of, strict=True))
        self._gate.install(self.access, signer, moved if same else None)
        self._made_of, self._owners = made_of, owners

    def access_of(self, app_id: str) -> AppAccess | None:
        """One app; None if there is none, or none yet."""
        return self.access.get(app_id)

    def credential_changed(self, app_id: str, user_id: str) -> None:
        """What was taken for this person is taken no more."""
        self._gate.credential_changed(app_id, user_id)

    def keys_removed(self) -> None:
        """What was taken for anybody may be taken no more. Once for all apps: with many it is a long line to send."""
        self._gate.request_cache.forget()
        self._gate.changes.all_changed()
