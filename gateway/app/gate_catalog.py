"""The catalog as a gate has it: validate → install, and what the store adds to it: keys and tiers."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from secrets import token_hex

from gateway.access.derived_keys import derived_keys
from gateway.access.keys import KeyOwner
from gateway.app.gate_parts import GateParts
from gateway.app.removed_tiers import refuse_removed_tiers
from gateway.app.traefik_document import render
from gateway.catalog.model import EMPTY_CATALOG, Catalog
from gateway.catalog.secret_ref import SecretRef
from gateway.settings import GateSettings, Secrets
from gateway.store import keys
from gateway.store.gate_changes import GateChange
from gateway.store.reader import Reads

Read = tuple[Catalog, Mapping[SecretRef, Secrets]]
Keys = Sequence[keys.Key]


def _nothing_else(read: Read, live: Keys) -> None:
    """In a process that is only a gate."""


class GateCatalog:
    """What `GateFollower` follows. `loaded`: the catalog whose users are in the table, the one installed last or, while
    they are loaded, the one before.

    `also_install(read, live)` is called in the same step of the event loop in which the gate gets a catalog or its
    keys, before it: a tier named by a new catalog must be checked against the new one.
    """

    def __init__(
        self, parts: GateParts, store: Reads, also_install: Callable[[Read, Keys], None] = _nothing_else
    ) -> None:
        self._parts = parts
        self._store = store
        self._also_install = also_install
        self._installed: Read = EMPTY_CATALOG, {}
        self.loaded: Catalog = EMPTY_CATALOG
        self._loading_keys = asyncio.Lock()
        self._loading_tiers = asyncio.Lock()

    async def validate(self, read: Read) -> bytes:
        """The Traefik configuration of a catalog that can be installed. Raises `ConfigError`; changes nothing."""
        await refuse_removed_tiers(self._store, read[0], str(self._parts.settings.apps_file))
        return await self._prepare(read[0])

    async def install(self, read: Read, traefik_document: bytes) -> None:
        """Replace apps, keys and routes at once. The tiers of its users are loaded by `load_tiers`."""
        parts, catalog = self._parts, read[0]
        async with self._loading_keys:
            self._install(read, await self._store.read(keys.live))
            parts.resolver.follow(catalog)
            parts.traefik.replace(traefik_document)

    async def install_snapshot(self, read: Read, owners: Mapping[bytes, KeyOwner]) -> None:
        """`install` with user keys that were saved, while the store is away. For a process that is only a gate."""
        document = await self._prepare(read[0])
        self._install_owners(read, owners)
        self.loaded = read[0]
        self._publish_loaded()
        self._parts.resolver.follow(read[0])
        self._parts.traefik.replace(document)

    async def load_tiers(self) -> None:
        """Load the tier of every user of the installed apps, and forget those of removed apps."""
        await self._load_tiers()
        self._publish_loaded()

    async def load_keys(self) -> None:
        """Every live key; a revoked one is refused from the next request on."""
        async with self._loading_keys:  # else keys read earlier could be installed after keys read later
            self._install(self._installed, await self._store.read(keys.live))

    async def load_all(self) -> None:
        """Keys and tiers of all users once more."""
        await self.load_keys()
        await self._load_tiers()

    def set_tier(self, app_id: str, user_id: str, tier_id: str, changes_at: int | None) -> None:
        """This user's tier from the next request on, and the epoch second at which the clock alone changes it."""
        self._parts.tiers.publish(app_id, user_id, tier_id, changes_at)

    def forget_user(self, app_id: str, user_id: str) -> None:
        """Remove a user who has no entitlement any more."""
        self._parts.invalidation.user_forgotten(app_id, user_id)
        self._parts.tiers.forget(app_id, user_id)

    def begin(self, epoch: str, number: int) -> None:
        """Answers are as of this change of the log, or will be before the first one is given."""
        self._parts.gate.changes.begin(epoch, number)

    def applied(self, number: int, changes: Sequence[GateChange]) -> None:
        """Publish changes of the log that have been applied."""
        users = [(change.number, change.app_id, change.user_id) for change in changes]
        self._parts.gate.changes.follow(number, users)

    async def _load_tiers(self) -> None:
        # One load at a time: one of an earlier catalog would end later and remove the users of a new app or tier.
        async with self._loading_tiers:
            tiers, catalog = self._parts.tiers, self._installed[0]
            await tiers.load(self._store, catalog)
            tiers.drop_all_but(catalog.apps)
            self.loaded = catalog

    async def _prepare(self, catalog: Catalog) -> bytes:
        await self._parts.assertion_keys.prepare(catalog)
        return await asyncio.to_thread(render, catalog, self._parts.settings)

    def _install(self, read: Read, live: Keys) -> None:
        self._also_install(read, live)
        owners = {key.key_hash: KeyOwner(key.app_id, key.user_id) for key in live if key.user_id is not None}
        self._install_owners(read, owners)

    def _install_owners(self, read: Read, owners: Mapping[bytes, KeyOwner]) -> None:
        parts = self._parts
        self._installed = read
        catalog, secrets = read
        only_keys = parts.apps.replace(catalog, secrets, owners, parts.resolver.key_sets.ring)
        # Until the tiers of new apps are loaded, no other gate gives the same answers.
        loading = "" if only_keys else token_hex(8)
        parts.gate.install(parts.apps.access, parts.assertion_keys.signer, configuration=loading, only_keys=only_keys)

    def _publish_loaded(self) -> None:
        """The apps and the tiers of their users are as in every gate with the same apps.json and secrets."""
        parts = self._parts
        digest = configuration_digest(*self._installed, parts.settings)
        parts.gate.changes.all_changed(parts.apps.access, digest)


def configuration_digest(catalog: Catalog, secrets: Mapping[SecretRef, Secrets], settings: GateSettings) -> str:
    """Of apps.json, the secrets that it names and those of the gate. Keyed, as Traefik reads it: it helps nobody to
    guess a secret."""
    found = [(str(ref), [secret.reveal() for secret in values]) for ref, values in secrets.items()]
    text = json.dumps([catalog.digest, sorted(found), [secret.reveal() for secret in settings.admin_token]])
    key = derived_keys(settings.gate_secret, "gate configuration 1")[0]
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
