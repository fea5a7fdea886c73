"""One running gate in a process of its own: it reads apps.json and the store, and needs nothing else to answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping
from functools import partial

import aiohttp

from gateway.app.background import Background
from gateway.app.catalog_file import CatalogFile
from gateway.app.first_seen_reports import FirstSeenReports
from gateway.app.gate_catalog import GateCatalog
from gateway.app.gate_follower import GateFollower
from gateway.app.gate_parts import GateParts, gate_parts
from gateway.app.gate_reports import GateReports
from gateway.app.gate_snapshot import GateSnapshots
from gateway.app.ports import bound
from gateway.errors import ConfigError, SkpayError, StoreUnavailable
from gateway.gate import listen
from gateway.litellm import LiteLLM
from gateway.log import fields
from gateway.metrics import Registry
from gateway.settings import GateSettings
from gateway.store.change_signal import change_signal
from gateway.store.opening import ReaderWhenOpen

log = logging.getLogger(__name__)

DRAIN_SECONDS = 2
RETRY_SECONDS = 1.0
WATCH_SECONDS = 1.0
BEAT_SECONDS = 0.4
ORPHAN_SECONDS = 30.0
"""How long it serves on after the main process was killed: until that runs again, with gate processes of its own."""


class GateProcess:
    """`start` returns once the gate answers from the store's tiers. Until then its port answers 503; a shared port is
    not open yet."""

    parts: GateParts

    def __init__(
        self,
        settings: GateSettings,
        environ: Mapping[str, str],
        *,
        heartbeat: int | None = None,
        name: str = "gate",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Read apps.json. Raises `ConfigError` with every problem of it and of the secrets it names.

        `heartbeat`: a pipe to the process that started this one, which then shares its port with others. `name`: the
        value of the label `process` of its metrics.
        """
        self._settings = settings
        self._heartbeat = heartbeat
        self._name = name
        self._clock = clock
        self._file = CatalogFile(settings, environ)
        self._read = self._file.read()
        self._stack = contextlib.AsyncExitStack()
        self._background = Background()
        self.gate_port = 0
        self.orphaned = asyncio.Event()

    async def start(self) -> None:
        """Raises `ConfigError`."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        settings = self._settings
        session = await self._stack.enter_async_context(aiohttp.ClientSession())
        litellm = None
        if settings.litellm_url:
            litellm = LiteLLM(session, settings.litellm_url, settings.litellm_key, clock=self._clock)
        # A main process that does not answer must not hold the connections of lookups.
        to_main = await self._stack.enter_async_context(aiohttp.ClientSession())
        first_seen = FirstSeenReports(to_main, settings)
        registry = Registry((("process", self._name),))
        self.parts = parts = await gate_parts(settings, self._clock, self._stack, litellm, first_seen.add, registry)
        if self._heartbeat is None:
            await self._listen()
        store = ReaderWhenOpen(self._settings.database_url)
        self._stack.push_async_callback(asyncio.to_thread, store.close)
        follower, catalog = GateFollower(store, self._clock), GateCatalog(parts, store)
        snapshots = GateSnapshots(self._settings, parts, catalog, follower, store, self._clock)
        parts.gate.problems = snapshots.problems
        await self._begin(follower, catalog, snapshots)
        parts.gate.ready = True
        if self._heartbeat is not None:
            # Not before: the others that share the port are ready, and this one's 503 would take their place.
            await self._listen()
            self._background.start("heartbeat", partial(_beat, self._heartbeat, self.orphaned))
        signal = change_signal(settings.database_url)
        self._stack.push_async_callback(signal.close)
        self._background.start("gate changes", lambda: follower.run(signal))
        self._background.start("snapshot", snapshots.keep)
        self._background.start("grants", snapshots.end_grants)
        self._background.start("watch", lambda: self._watch(catalog))
        self._background.start("first-seen users", first_seen.run)
        reports = GateReports(to_main, settings, registry, parts.apps, self._name, snapshots.problems, self._clock)
        self._stack.push_async_callback(reports.last)
        self._background.start("reports", reports.run)
        log.info("gate_started", extra=fields(gate_port=self.gate_port, epoch=follower.epoch, number=follower.number))

    def reload(self) -> None:
        """Read apps.json and the secrets again within a second."""
        self._file.forget()

    async def _listen(self) -> None:
        settings = self._settings
        listening = listen(self.parts.gate, settings.host, settings.gate_port, shared=self._heartbeat is not None)
        listener = await bound("GATE_PORT", settings.gate_port, listening)
        self._stack.push_async_callback(listener.close, DRAIN_SECONDS)
        self.gate_port = listener.port

    async def stop(self) -> None:
        """Accept no more requests, finish those in progress. Idempotent."""
        await self._background.stop()
        await self._stack.aclose()

    async def _begin(self, follower: GateFollower, catalog: GateCatalog, snapshots: GateSnapshots) -> None:
        """Load everything from the store or, while it is away, from the snapshot. Without one, wait for the process
        that creates and migrates the database."""
        tried = False
        while True:
            try:
                await follower.begin(catalog)
                await self._install(catalog)
                return
            except StoreUnavailable as exc:
                log.warning("gate_waits_for_store", extra=fields(detail=exc.detail))
            if not tried and await snapshots.load(self._read):
                return
            tried = True
            await asyncio.sleep(RETRY_SECONDS)

    async def _install(self, catalog: GateCatalog) -> None:
        await catalog.install(self._read, await catalog.validate(self._read))
        await catalog.load_tiers()

    async def _watch(self, catalog: GateCatalog) -> None:
        """Check apps.json each second. What the main process refuses is refused here for the same reasons."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if not self._file.changed():
                continue
            try:
                self._read = self._file.read()
                await self._install(catalog)
                log.info("catalog_reloaded", extra=fields(apps=list(self._read[0].apps)))
            except ConfigError as exc:
                log.error("catalog_refused", extra=fields(problems=list(exc.problems)))
            except SkpayError as exc:
                self._file.forget()
                log.warning("catalog_reload_deferred", extra=fields(detail=exc.detail))
            except Exception:
                self._file.forget()  # else it would not be read again until the next edit
                raise


async def _beat(pipe: int, orphaned: asyncio.Event) -> None:
    """Show that this event loop runs. Once nobody reads, the process that started this one has ended."""
    os.set_blocking(pipe, False)
    with contextlib.suppress(BrokenPipeError):
        while True:
            with contextlib.suppress(BlockingIOError):
                os.write(pipe, b".")
            await asyncio.sleep(BEAT_SECONDS)
    log.warning("gate_process_orphaned", extra=fields(stops_in_seconds=ORPHAN_SECONDS))
    await asyncio.sleep(ORPHAN_SECONDS)
    orphaned.set()
