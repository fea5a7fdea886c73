"""One running SKPayments: start, serve, stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial

from gateway.app.assemble import Parts, assemble
from gateway.app.background import Background
from gateway.app.catalog_file import CatalogFile
from gateway.app.gate_processes import GateProcesses, default_count
from gateway.app.gate_snapshot import has_snapshot
from gateway.app.gate_watch import watch_gates
from gateway.app.gauges import keep_gauges
from gateway.app.ports import bound, open_site
from gateway.app.reload import CatalogReload
from gateway.app.session_watch import watch_sessions
from gateway.app.startup_checks import StartupChecks
from gateway.billing.provision.enforcement import check_for_ever
from gateway.billing.reconcile.schedule import fill_for_ever, pass_for_ever
from gateway.billing.work.worker import Worker
from gateway.errors import StoreUnavailable
from gateway.gate import Explainer, listen
from gateway.log import fields
from gateway.settings import Settings
from gateway.store.change_signal import change_signal
from gateway.web.context import Site
from gateway.web.server import web_application, web_runner

log = logging.getLogger(__name__)

GATE_DRAIN_SECONDS = 2
STORE_RETRY_SECONDS = 1.0


class Application:
    """`start` returns once both ports answer and sets `parts` and `catalog_reload`; `stop` drains within 10 s."""

    parts: Parts
    catalog_reload: CatalogReload

    def __init__(
        self, settings: Settings, environ: Mapping[str, str], *, clock: Callable[[], float] = time.time
    ) -> None:
        """Read apps.json. Raises `ConfigError` with every problem of it and of the secrets it names."""
        self._settings = settings
        self._clock = clock
        self._environ = environ
        self._file = CatalogFile(settings, environ)
        self._read = self._file.read()
        self._problems: dict[str, str] = {}
        self._stack = contextlib.AsyncExitStack()
        self._background = Background()
        self._gate_processes: GateProcesses | None = None
        self.web_port = 0
        self.gate_port = 0

    async def start(self) -> None:
        """Open the store, load the tiers, then serve. Raises `ConfigError`, `StoreUnavailable`."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        self.parts = parts = await self._assemble()
        self.catalog_reload = CatalogReload(parts, self._file, self._background, self._problems)
        await self._open_gate_port()
        parts.gate.problems = self._gate_problems
        await parts.follower.begin(self.catalog_reload.gate)
        await self.catalog_reload.begin(self._read)
        parts.gate.ready = True  # it answers from memory, so it waits for neither Stripe nor LiteLLM
        if self._gate_processes is not None:
            await self._gate_processes.start()
        startup_checks = StartupChecks(parts.billing, self._problems)
        await startup_checks.run_before_serving()
        await self._serve_web()
        worker = Worker(parts.billing, parts.first_seen_users.resolve)
        await worker.start()
        self._stack.push_async_callback(worker.stop)
        self._start_background(startup_checks)
        self.catalog_reload.follow()
        apps = list(parts.billing.apps.catalog.apps)
        log.info("started", extra=fields(apps=apps, port=self.web_port, gate_port=self.gate_port))

    async def _assemble(self) -> Parts:
        """Wait for a database that is away if gate processes can start without it: they would end with this process.
        Raises `StoreUnavailable` where they cannot."""
        problem = ""
        while True:
            try:
                return await assemble(self._settings, self._clock, self._stack)
            except StoreUnavailable as exc:
                if self._gate_processes is None and has_snapshot(self._settings):
                    self._reserve_gate_port()
                if self._gate_processes is None:
                    raise
                self._gate_processes.begin()
                if problem != exc.message:
                    log.error("store_awaited", extra=fields(detail=exc.message))
                problem = exc.message
            await asyncio.sleep(STORE_RETRY_SECONDS)

    async def _open_gate_port(self) -> None:
        """Serve the gate here, which answers 503 until it is ready, or reserve its port for processes of its own."""
        if self._gate_processes is None:
            self._reserve_gate_port()
        if self._gate_processes is not None:
            return
        settings = self._settings
        listening = listen(self.parts.gate, settings.host, settings.gate_port)
        listener = await bound("GATE_PORT", settings.gate_port, listening)
        self._stack.push_async_callback(listener.close, GATE_DRAIN_SECONDS)
        self.gate_port = listener.port

    def _reserve_gate_port(self) -> None:
        """For gate processes, if there are to be any. Raises `ConfigError`."""
        settings = self._settings
        count = default_count() if settings.gate_processes is None else settings.gate_processes
        if count:
            self._gate_processes = GateProcesses(settings, self._environ, count)
            self._stack.push_async_callback(self._gate_processes.stop)
            self._gate_processes.reserve_port()
            self.gate_port = self._gate_processes.port

    async def _serve_web(self) -> None:
        settings, parts = self._settings, self.parts
        explainer = Explainer(parts.gate, parts.tiers.table, parts.apps.access_of, self._clock)
        site = Site(
            admin_tokens=settings.admin_token,
            gate_secrets=settings.gate_secret,
            first_seen=parts.first_seen_users.add,
            public_url=settings.public_url,
            link_keys=parts.link_keys,
            readiness=self.problems,
            reload_catalog=self.reload,
            metrics=lambda: parts.figures.render(time.monotonic()),
            gate_report=lambda report: parts.figures.add(report, time.monotonic()),
            jwks=parts.assertion_keys.jwks,
            explain_gate=explainer.explain,
        )
        runner = web_runner(web_application(parts.billing, site))
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await bound("PORT", settings.port, open_site(runner, settings.host, settings.port))
        self.web_port = int(runner.addresses[0][1])

    def _start_background(self, startup_checks: StartupChecks) -> None:
        parts, start = self.parts, self._background.start
        start("first-seen users", parts.first_seen_users.run)
        start("watch", self.catalog_reload.watch)
        signal = change_signal(self._settings.database_url)
        self._stack.push_async_callback(signal.close)
        start("gate changes", partial(parts.follower.run, signal))
        start("sessions", partial(watch_sessions, parts.billing.work, parts.apps, parts.figures))
        start("gates", partial(watch_gates, parts.billing.work, parts.figures, parts.follower))
        start("gauges", partial(keep_gauges, parts.registry, parts.store))
        start("startup checks", startup_checks.retry_until_answered)
        start("purge", startup_checks.purge_daily)
        start("purge of gate changes", startup_checks.purge_gate_changes_hourly)
        start("missed events", partial(fill_for_ever, parts.billing))
        start("enforcement", partial(check_for_ever, parts.billing))
        start("reconcile", partial(pass_for_ever, parts.billing))

    async def stop(self) -> None:
        """Accept no more requests, finish those in progress, close the store. Idempotent."""
        await self._background.stop()
        await self._stack.aclose()

    async def reload(self) -> None:
        """Reload apps.json. Raises `ConfigError`; the old catalog then stays in force."""
        await self.catalog_reload.reload()
        if self._gate_processes is not None:
            self._gate_processes.reload()

    def problems(self) -> dict[str, str]:
        """What keeps the service from being ready, by name; empty if it is ready."""
        found = {**self._problems, **self.parts.resolver.key_sets.problems()}
        if self.parts.store.problem:
            found["store"] = self.parts.store.problem
        return found | self._gate_problems()

    def _gate_problems(self) -> dict[str, str]:
        stale = self.parts.follower.stale
        return {"changes": stale} if stale else {}
