"""Application: one running SKPayments."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import aiohttp

from gateway.access import header_echo_tokens, links
from gateway.access.keys import KeyOwner
from gateway.app.assertion_keys import AssertionKeys
from gateway.app.background import Background
from gateway.app.catalog_file import CatalogFile
from gateway.app.credential_resolver import CredentialResolver, identity_session
from gateway.app.gate_apps import GateApps
from gateway.app.gate_table import GateTable
from gateway.app.gauges import keep_gauges
from gateway.app.ports import bound, open_site
from gateway.app.removed_tiers import refuse_removed_tiers
from gateway.app.session_watch import watch_sessions
from gateway.app.startup_checks import StartupChecks
from gateway.billing.accounts.forget import SESSIONS_LAST_SECONDS
from gateway.billing.accounts.keys import hash_key
from gateway.billing.checkout.checkout import expire_withdrawn
from gateway.billing.checkout.prices import load_known_prices, resolve_prices
from gateway.billing.context import Billing
from gateway.billing.provision.enforcement import check_for_ever
from gateway.billing.provision.first_seen_users import FirstSeenUserQueue
from gateway.billing.provision.provision import ensure_default_budgets, renew_limits
from gateway.billing.reconcile.schedule import fill_for_ever, pass_for_ever
from gateway.billing.refresh.rederive import rederive
from gateway.billing.work.alerting import open_alert, resolve_alert
from gateway.billing.work.worker import Worker
from gateway.catalog.model import EMPTY_CATALOG, Catalog, SecretRef
from gateway.errors import ConfigError, SkpayError, UpstreamFailed
from gateway.gate import Explainer, GateHandler, Listener, listen
from gateway.litellm import LiteLLM
from gateway.log import fields
from gateway.metrics import Registry
from gateway.routing import plan, traefik_json
from gateway.settings import Secrets, Settings
from gateway.store import Store, keys
from gateway.stripe.client import Stripe
from gateway.stripe.ownership import signing_keys
from gateway.stripe.rate_limiter import RateLimiter
from gateway.stripe.transport import Transport
from gateway.web.context import Site
from gateway.web.server import web_application, web_runner

log = logging.getLogger(__name__)

WATCH_SECONDS = 1.0
PRICES_RETRY_SECONDS = 30.0


class Application:
    """One running SKPayments. `start` returns once both ports answer; `stop` drains within 10 s."""

    def __init__(
        self, settings: Settings, environ: Mapping[str, str], *, clock: Callable[[], float] = time.time
    ) -> None:
        """Read apps.json. Raises `ConfigError` with every problem of it and of the secrets it names."""
        self._settings = settings
        self._clock = clock
        self._file = CatalogFile(settings, environ)
        self._catalog: Catalog
        self._secrets: Mapping[SecretRef, Secrets]
        self._catalog, self._secrets = self._file.read()
        self._problems: dict[str, str] = {}
        self._stack = contextlib.AsyncExitStack()
        self._background = Background()
        self._reloading, self._loading_keys = asyncio.Lock(), asyncio.Lock()
        self._traefik: bytes | None = None
        self._tiers = GateTable(self._tier_changed)
        self._assertion_keys = AssertionKeys(settings)
        self.registry = Registry()
        self.web_port = 0
        self.gate_port = 0

    async def start(self) -> None:
        """Open the store, fill the table, then serve. Raises `ConfigError`, `StoreUnavailable`."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        settings = self._settings
        self._store = await asyncio.to_thread(Store.open, settings.database_url, clock=self._clock)
        self._stack.push_async_callback(self._store.close)
        session = await self._stack.enter_async_context(aiohttp.ClientSession())
        self._billing = self._make_billing(session)
        first_seen_users = FirstSeenUserQueue(self._billing)
        link_keys = links.link_keys(settings.gate_secret)
        self._resolver = self._make_resolver(await self._stack.enter_async_context(identity_session()))
        self._stack.push_async_callback(self._resolver.stop)
        self._gate = self._make_gate(first_seen_users, link_keys[0])
        self._apps = GateApps(self._gate, self._resolver.key_sets.ring)
        await self._listen()
        await self._install(self._catalog, self._secrets)
        self._gate.ready = True  # it needs nothing but memory, so it waits for nobody else
        await resolve_alert(self._billing, "catalog_refused", str(settings.apps_file))
        startup_checks = StartupChecks(self._billing, self._problems)
        await startup_checks.run_before_serving()
        await self._serve(link_keys)
        worker = Worker(self._billing)
        await worker.start()
        self._stack.push_async_callback(worker.stop)
        self._background.start("first-seen users", first_seen_users.run)
        self._background.start("watch", self._watch)
        self._background.start("sessions", partial(watch_sessions, self._billing, lambda: self._apps.access))
        self._background.start("gauges", lambda: keep_gauges(self.registry, self._store))
        self._background.start("startup checks", startup_checks.retry_until_answered)
        self._background.start("purge", startup_checks.purge_daily)
        self._background.start("missed events", partial(fill_for_ever, self._billing))
        self._background.start("enforcement", partial(check_for_ever, self._billing))
        self._background.start("reconcile", partial(pass_for_ever, self._billing))
        self._follow_catalog()
        log.info("started", extra=fields(apps=list(self._catalog.apps), port=self.web_port, gate_port=self.gate_port))

    def _make_billing(self, session: aiohttp.ClientSession) -> Billing:
        """The use cases with their vendors; the catalog comes with `_install`."""
        settings, clock = self._settings, self._clock
        litellm = None
        if settings.litellm_url:
            litellm = LiteLLM(session, settings.litellm_url, settings.litellm_key, clock=clock)
        return Billing(
            store=self._store,
            stripe=Stripe(
                Transport(
                    session,
                    settings.stripe_secret_key,
                    api_base=settings.stripe_api_base,
                    rate_limiter=RateLimiter(),
                    clock=clock,
                )
            ),
            litellm=litellm,
            catalog=EMPTY_CATALOG,
            webhook_secrets=settings.stripe_webhook_secret,
            public_url=settings.public_url,
            clock=clock,
            update_gate=self._tiers.publish,
            signing_keys=signing_keys(settings.admin_token),
            forget_in_gate=self._forget_gate,
        )

    def _make_gate(self, first_seen_users: FirstSeenUserQueue, link_key: bytes) -> GateHandler:
        """The gate, not ready yet; it reads the table and nothing else."""
        return GateHandler(
            secrets=self._settings.gate_secret,
            public_url=self._settings.public_url,
            table=self._tiers.table,
            sign_link=partial(links.sign, link_key),
            registry=self.registry,
            on_first_seen=first_seen_users.add,
            traefik_document=lambda: self._traefik,
            resolve=self._resolver.resolve,
            echo_token_keys=header_echo_tokens.header_echo_keys(self._settings.admin_token),
            clock=self._clock,
        )

    def _make_resolver(self, session: aiohttp.ClientSession) -> CredentialResolver:
        """Who answers what the gate cannot tell by itself."""
        return CredentialResolver(
            session,
            self._billing.litellm,
            access=lambda app_id: self._apps.access_of(app_id),
            changed=lambda app_id, user_id: self._apps.credential_changed(app_id, user_id),
            keys_removed=lambda url: self._apps.keys_removed(),
            registry=self.registry,
            clock=self._clock,
        )

    async def _listen(self) -> None:
        """The gate's port answers, at first that it is not ready."""
        settings = self._settings
        listener: Listener = await bound(
            "GATE_PORT", settings.gate_port, listen(self._gate, settings.host, settings.gate_port)
        )
        self._stack.push_async_callback(listener.close, 2)
        self.gate_port = listener.port

    async def _serve(self, link_keys: tuple[bytes, ...]) -> None:
        settings = self._settings
        explainer = Explainer(self._gate, self._tiers.table, self._apps.access_of, self._clock)
        site = Site(
            admin_tokens=settings.admin_token,
            public_url=settings.public_url,
            link_keys=link_keys,
            readiness=self.problems,
            reload_catalog=self.reload,
            keys_changed=self._load_keys,
            jwks=self._assertion_keys.jwks,
            explain_gate=explainer.explain,
        )
        runner = web_runner(web_application(self._billing, site))
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await bound("PORT", settings.port, open_site(runner, settings.host, settings.port))
        self.web_port = int(runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop taking requests, finish what is under way, close the store. Twice is once."""
        await self._background.stop()
        await self._stack.aclose()

    def problems(self) -> dict[str, str]:
        """What is not well, by name; empty is ready."""
        found = {**self._problems, **self._resolver.key_sets.problems()}
        if self._store.problem:
            found["store"] = self._store.problem
        return found

    async def reload(self) -> None:
        """Read apps.json again. On any problem the old catalog serves on, and the problem is raised and alerted.

        One at a time: what was read last is what is installed last.
        """
        async with self._reloading:
            try:
                await self._reload()
            except ConfigError:
                raise
            except BaseException:
                self._file.forget()  # the file may be fine: look again in a second
                raise

    async def _reload(self) -> None:
        where = str(self._settings.apps_file)
        try:
            catalog, secrets = self._file.read()
            await self._install(catalog, secrets)
        except ConfigError as exc:
            self._problems["catalog"] = exc.message
            await open_alert(self._billing, "catalog_refused", where, exc.message)
            raise
        self._problems.pop("catalog", None)
        await resolve_alert(self._billing, "catalog_refused", where)
        log.info("catalog_reloaded", extra=fields(apps=list(catalog.apps)))
        self._follow_catalog()

    def _follow_catalog(self) -> None:
        """What a catalog asks of the vendors, until they have answered."""
        self._background.start("prices", self._resolve_prices)
        self._background.start("default budgets", partial(ensure_default_budgets, self._billing))
        self._background.start("renew", self._renew)
        self._background.start("rederive", self._rederive)

    async def _install(self, catalog: Catalog, secrets: Mapping[SecretRef, Secrets]) -> None:
        """Swap one frozen catalog for the other: use cases, gate and routes all at once."""
        await refuse_removed_tiers(self._store, catalog, str(self._settings.apps_file))
        await self._assertion_keys.prepare(catalog)
        routes = await asyncio.to_thread(self._routes_of, catalog)
        gone = [app_id for app_id in self._apps.access if app_id not in catalog.apps]
        async with self._loading_keys:
            live = await self._store.read(keys.live)
            # All in one step: who is told of a tier by the new catalog must be asked about it by the new one.
            self._catalog, self._secrets, self._billing.catalog = catalog, secrets, catalog
            self._billing.prices_resolved = False
            self._billing.catalog_secrets = secrets
            self._install_keys(live)
            self._resolver.follow(catalog)
            self._traefik = routes
        await load_known_prices(self._billing)
        await self._tiers.load(self._store, catalog)
        for app_id in gone:
            self._tiers.table.drop(app_id)

    def _routes_of(self, catalog: Catalog) -> bytes:
        """What Traefik's HTTP provider gets. Raises `ConfigError`; off the loop, as many apps take a while."""
        return traefik_json(plan(catalog, self._settings.public_url), self._settings.gate_secret[0].reveal())

    def _forget_gate(self, app_id: str, user_id: str) -> None:
        # Who still comes after that has come back, and must have limits in LiteLLM again.
        asyncio.get_running_loop().call_later(SESSIONS_LAST_SECONDS, self._gate.reset_first_seen, app_id, user_id)
        self._tiers.forget(app_id, user_id)

    def _tier_changed(self, app_id: str, user_id: str) -> None:
        """This person's tier is another one, so nobody may keep their last answer."""
        self._gate.changes.user_changed(app_id, user_id)

    async def _load_keys(self) -> None:
        """Every live key into the gate and the public listener; a revoked one stops with the next request."""
        async with self._loading_keys:  # or an older look at the keys could be installed after a newer one
            self._install_keys(await self._store.read(keys.live))

    def _install_keys(self, live: Sequence[keys.Key]) -> None:
        owners = {key.key_hash.hex(): KeyOwner(key.app_id, key.user_id) for key in live if key.user_id is not None}
        hashes: dict[str, tuple[bytes, ...]] = {}
        for app in self._catalog.apps.values():
            configured = self._secrets[app.api_key] if app.api_key else ()
            made = [key.key_hash for key in live if key.kind == "app" and key.app_id == app.app_id]
            hashes[app.app_id] = (*(hash_key(secret.reveal()) for secret in configured), *made)
        self._billing.app_keys = hashes
        self._apps.install(self._catalog, self._secrets, owners, self._assertion_keys.signer)

    async def _watch(self) -> None:
        """Look at apps.json each second: a stat always works, where notifications are lost behind some mounts."""
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

    async def _resolve_prices(self) -> None:
        """Until Stripe has answered for every price; checkouts ask for themselves meanwhile."""
        while True:
            try:
                await resolve_prices(self._billing)
                await expire_withdrawn(self._billing)
                self._problems.pop("prices", None)
                return
            except UpstreamFailed as exc:
                self._problems["prices"] = f"not resolved at Stripe yet: {exc.message}"
                log.warning("prices_not_resolved", extra=fields(detail=exc.detail))
            await asyncio.sleep(PRICES_RETRY_SECONDS)

    async def _rederive(self) -> None:
        wanted = await rederive(self._billing)
        if wanted:
            log.info("users_rederived", extra=fields(users=wanted))

    async def _renew(self) -> None:
        renewed = await renew_limits(self._billing)
        if renewed:
            log.info("limits_renewed", extra=fields(users=renewed))
