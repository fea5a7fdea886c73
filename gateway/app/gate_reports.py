"""Sends the figures of a gate process to a main process, every few seconds."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress

import aiohttp

from gateway.app.first_seen_reports import REFUSED
from gateway.app.gate_apps import GateApps
from gateway.app.gate_figures import Increments, verdicts
from gateway.log import fields
from gateway.metrics import Registry
from gateway.settings import GateSettings
from gateway.web.models import GateReport

log = logging.getLogger(__name__)

REPORT_SECONDS = 5.0
TIMEOUT_SECONDS = 3.0
LAST_SECONDS = 1.0
PATH = "/gate/report"


class GateReports:
    """A report that was not answered is sent again unchanged, under its number; what was counted meanwhile follows."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        settings: GateSettings,
        registry: Registry,
        apps: GateApps,
        name: str,
        problems: Callable[[], Mapping[str, str]],
        clock: Callable[[], float],
    ) -> None:
        self._session = session
        self._url = f"{settings.main_url}{PATH}"
        self._headers = {"Authorization": f"Bearer {settings.gate_secret[0].reveal()}"}
        self._increments = Increments(registry)
        self._apps = apps
        self._name = f"{name} at {socket.gethostname()}"
        self._problems = problems
        self._clock = clock
        self._process = secrets.token_hex(8)
        self._number = 0
        self._waiting: GateReport | None = None
        self._reported = True

    async def run(self) -> None:
        """Report for ever."""
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            await self.report()

    async def report(self) -> None:
        """Send the next report, or the one that was not answered."""
        if self._waiting is None:
            self._number += 1
            self._waiting = GateReport(
                process=self._process,
                number=self._number,
                figures=self._increments.take(),
                sessions=verdicts(self._apps, int(self._clock())),
                name=self._name,
                problems=[problem[:1000] for problem in self._problems().values()],
            )
        try:
            refused = await self._send(self._waiting)
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            if self._reported:
                log.warning("gate_report_failed", extra=fields(detail=type(exc).__name__, main_url=self._url))
            self._reported = False
        else:
            if refused:
                log.error("gate_report_refused", extra=fields(detail=refused, main_url=self._url))
            self._waiting, self._reported = None, True

    async def last(self) -> None:
        """Before the process ends: what was counted since the last report, if the main process answers at once."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                await self.report()

    async def _send(self, report: GateReport) -> str:
        """Empty, or why the main process will never accept this report."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        body = report.model_dump(mode="json")
        async with self._session.post(self._url, json=body, headers=self._headers, timeout=timeout) as response:
            if response.status in REFUSED:
                return f"{response.status} {(await response.text())[:200]}"
            response.raise_for_status()
            return ""
