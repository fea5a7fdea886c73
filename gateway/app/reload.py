"""The catalog of a running service: read → validate → install → follow."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import partial

from gateway.access.keys import KeyOwner, key_hash
from gateway.app.assemble import Parts
from gateway.app.background import Background
from gateway.app.catalog_file import CatalogFile
from gateway.app.removed_tiers import refuse_removed_tiers
from gateway.app.traefik_document import render
from gateway.billing.checkout.checkout import expire_withdrawn
from gateway.billing.checkout.prices import load_known_prices, resolve_prices
from gateway.billing.provision.provision import ensure_default_budgets, renew_limits
from gateway.billing.refresh.rederive import rederive
from gateway.billing.work.alerting import open_alert, resolve_alert
from gateway.catalog.model import Catalog
from gateway.catalog.secret_ref import SecretRef
from gateway.errors import ConfigError, SkpayError, UpstreamFailed
from gateway.log import fields
from gateway.settings import Secrets
from gateway.store import keys

log = logging.getLogger(__name__)

WATCH_SECONDS = 1.0
PRICES_RETRY_SECONDS = 30.0

Read = tuple[Catalog, Mapping[SecretRef, Secrets]]


class CatalogReload:
    """Replaces the catalog in every part at once. `problems` gets what /ready reports about it."""

    def __init__(self, parts: Parts, file: CatalogFile, background: Background, problems: dict[str, str]) -> None:
        self._parts = parts
        self._file = file
        self._background = background
        self._problems = problems
        self._reloading, self._loading_keys = asyncio.Lock(), asyncio.Lock()

    async def begin(self, read: Read) -> None:
        """Install what was read before the start. Raises `ConfigError`."""
        await self._install(read, await self._validate(read))
        await resolve_alert(self._parts.billing.work, "catalog_refused", str(self._parts.settings.apps_file))

    async def reload(self) -> None:
        """Read apps.json and install it. On a problem the old catalog stays in force, and the problem is raised and
        alerted.

        One reload at a time: what was read last is installed last.
        """
        async with self._reloading:
            try:
                await self._reload()
            except ConfigError:
                raise
            except BaseException:
                self._file.forget()  # the file may be fine: `watch` retries in a second
                raise

    async def watch(self) -> None:
        """Check apps.json each second: stat always works, while change notifications are lost behind some mounts."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if not self._file.changed():
                continue
            try:
                await self.reload()
            except ConfigError as exc:
                log.error("catalog_refused", extra=fields(problems=list(exc.problems)))
            except SkpayError as exc:
                log.warning("catalog_reload_deferred", extra=fields(detail=exc.detail))

    async def load_keys(self) -> None:
        """Every live key into the gate and the public listener; a revoked one is refused from the next request on."""
        async with self._loading_keys:  # else keys read earlier could be installed after keys read later
            billing = self._parts.billing
            self._install_keys((billing.apps.catalog, billing.apps.secrets), await self._parts.store.read(keys.live))

    async def load_all(self) -> None:
        """Keys and tiers of all users once more."""
        await self.load_keys()
        await self._parts.tiers.load(self._parts.store, self._parts.billing.apps.catalog)
        self._parts.invalidation.everything_changed()

    def set_tier(self, app_id: str, user_id: str, tier_id: str, changes_at: int | None) -> None:
        """This user's tier from the next request on, and the epoch second at which the clock alone changes it."""
        self._parts.tiers.publish(app_id, user_id, tier_id, changes_at)

    def forget_user(self, app_id: str, user_id: str) -> None:
        """Remove a user who has no entitlement any more."""
        self._parts.invalidation.user_forgotten(app_id, user_id)
        self._parts.tiers.forget(app_id, user_id)

    async def _reload(self) -> None:
        billing, where = self._parts.billing, str(self._parts.settings.apps_file)
        try:
            read = self._file.read()
            await self._install(read, await self._validate(read))
        except ConfigError as exc:
            self._problems["catalog"] = exc.message
            await open_alert(billing.work, "catalog_refused", where, exc.message)
            raise
        self._problems.pop("catalog", None)
        await resolve_alert(billing.work, "catalog_refused", where)
        log.info("catalog_reloaded", extra=fields(apps=list(billing.apps.catalog.apps)))
        self.follow()

    async def _validate(self, read: Read) -> bytes:
        """The Traefik configuration of a catalog that can be installed. Raises `ConfigError`; changes nothing."""
        catalog, _ = read
        settings = self._parts.settings
        await refuse_removed_tiers(self._parts.store, catalog, str(settings.apps_file))
        await self._parts.assertion_keys.prepare(catalog)
        return await asyncio.to_thread(render, catalog, settings)

    async def _install(self, read: Read, traefik_document: bytes) -> None:
        """Replace the catalog in use cases, gate and routes at once."""
        parts, billing = self._parts, self._parts.billing
        catalog, secrets = read
        removed = [app_id for app_id in parts.apps.access if app_id not in catalog.apps]
        async with self._loading_keys:
            live = await parts.store.read(keys.live)
            # Without an await in between: a tier named by the new catalog must be checked against the new one.
            billing.apps.catalog, billing.apps.secrets = catalog, secrets
            billing.prices.complete = False
            self._install_keys(read, live)
            parts.resolver.follow(catalog)
            parts.traefik.replace(traefik_document)
        await load_known_prices(billing)
        await parts.tiers.load(parts.store, catalog)
        for app_id in removed:
            parts.tiers.table.drop(app_id)

    def _install_keys(self, read: Read, live: Sequence[keys.Key]) -> None:
        parts = self._parts
        catalog, secrets = read
        owners = {key.key_hash: KeyOwner(key.app_id, key.user_id) for key in live if key.user_id is not None}
        hashes: dict[str, tuple[bytes, ...]] = {}
        for app in catalog.apps.values():
            configured = secrets[app.api_key] if app.api_key else ()
            created = [key.key_hash for key in live if key.kind == "app" and key.app_id == app.app_id]
            hashes[app.app_id] = (*(key_hash(secret.reveal()) for secret in configured), *created)
        parts.billing.apps.key_hashes = hashes
        changed_owners = parts.apps.replace(catalog, secrets, owners, parts.resolver.key_sets.ring)
        parts.gate.install(parts.apps.access, parts.assertion_keys.signer, changed_owners)

    def follow(self) -> None:
        """Start what an installed catalog requires of Stripe, LiteLLM and the store; each runs until it succeeds."""
        billing = self._parts.billing
        self._background.start("prices", self._resolve_prices)
        self._background.start(
            "default budgets", partial(ensure_default_budgets, billing.litellm, billing.apps.catalog)
        )
        self._background.start("renew", self._renew_limits)
        self._background.start("rederive", self._rederive)

    async def _resolve_prices(self) -> None:
        """Until Stripe has answered for every price; meanwhile each checkout resolves its own."""
        while True:
            try:
                await resolve_prices(self._parts.billing)
                await expire_withdrawn(self._parts.billing)
                self._problems.pop("prices", None)
                return
            except UpstreamFailed as exc:
                self._problems["prices"] = f"not resolved at Stripe yet: {exc.message}"
                log.warning("prices_not_resolved", extra=fields(detail=exc.detail))
            await asyncio.sleep(PRICES_RETRY_SECONDS)

    async def _rederive(self) -> None:
        users = await rederive(self._parts.billing.work, self._parts.billing.apps)
        if users:
            log.info("users_rederived", extra=fields(users=users))

    async def _renew_limits(self) -> None:
        users = await renew_limits(self._parts.billing.work, self._parts.billing.apps)
        if users:
            log.info("limits_renewed", extra=fields(users=users))
