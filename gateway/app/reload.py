"""The catalog of a running service: read → validate → install → follow."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from functools import partial

from gateway.access.keys import key_hash
from gateway.app.assemble import Parts
from gateway.app.background import Background
from gateway.app.catalog_file import CatalogFile
from gateway.app.gate_catalog import GateCatalog, Keys, Read
from gateway.billing.checkout.checkout import expire_withdrawn
from gateway.billing.checkout.prices import load_known_prices, resolve_prices
from gateway.billing.provision.provision import ensure_default_budgets, renew_limits
from gateway.billing.refresh.rederive import rederive
from gateway.billing.work.alerting import open_alert, resolve_alert
from gateway.catalog.model import App
from gateway.catalog.secret_ref import SecretRef
from gateway.errors import ConfigError, SkpayError, UpstreamFailed
from gateway.log import fields
from gateway.settings import Secrets

log = logging.getLogger(__name__)

WATCH_SECONDS = 1.0
PRICES_RETRY_SECONDS = 30.0


class CatalogReload:
    """Replaces the catalog in every part at once. `problems` gets what /ready reports about it."""

    def __init__(self, parts: Parts, file: CatalogFile, background: Background, problems: dict[str, str]) -> None:
        self._parts = parts
        self._file = file
        self._background = background
        self._problems = problems
        self._reloading = asyncio.Lock()
        self.gate = GateCatalog(parts, parts.store, self._install_in_use_cases)

    async def begin(self, read: Read) -> None:
        """Install what was read before the start. Raises `ConfigError`."""
        await self._install(read)
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

    async def _reload(self) -> None:
        billing, where = self._parts.billing, str(self._parts.settings.apps_file)
        try:
            read = self._file.read()
            await self._install(read)
        except ConfigError as exc:
            self._problems["catalog"] = exc.message
            await open_alert(billing.work, "catalog_refused", where, exc.message)
            raise
        self._problems.pop("catalog", None)
        await resolve_alert(billing.work, "catalog_refused", where)
        log.info("catalog_reloaded", extra=fields(apps=list(billing.apps.catalog.apps)))
        self.follow()

    async def _install(self, read: Read) -> None:
        """Replace the catalog in use cases, gate and routes at once. Raises `ConfigError` if it cannot be installed."""
        await self.gate.install(read, await self.gate.validate(read))
        await load_known_prices(self._parts.billing)
        await self.gate.load_tiers()

    def _install_in_use_cases(self, read: Read, live: Keys) -> None:
        billing = self._parts.billing
        catalog, secrets = read
        if billing.apps.catalog is not catalog:
            billing.apps.catalog, billing.apps.secrets = catalog, secrets
            billing.prices.complete = False
        billing.apps.key_hashes = {app.app_id: _key_hashes(app, secrets, live) for app in catalog.apps.values()}

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


def _key_hashes(app: App, secrets: Mapping[SecretRef, Secrets], live: Keys) -> tuple[bytes, ...]:
    """Of the keys that the app's backend may use: those of apps.json and those created since."""
    configured = secrets[app.api_key] if app.api_key else ()
    created = [key.key_hash for key in live if key.kind == "app" and key.app_id == app.app_id]
    return (*(key_hash(secret.reveal()) for secret in configured), *created)
