"""First-seen users are reported by a bounded number of requests, whatever the main process does."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web
from servers.running import served
from servers.traefik import free_port, until

from gateway.app import first_seen_reports
from gateway.app.first_seen_reports import MAX_A_REPORT, MAX_REPORTS, FirstSeenReports
from gateway.settings import read_gate_settings

LIMIT_BYTES = 65_536
ENVIRON = {
    "GATE_SECRET": "0123456789abcdef0123456789abcdef", "ADMIN_TOKEN": "abcdef0123456789abcdef0123456789",
    "PUBLIC_URL": "https://pay.example.com",
}  # fmt: skip


@dataclass
class Main:
    """`statuses`: of the next answers, then 200. `users` were accepted."""

    statuses: list[int] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    requests: int = 0
    under_way: int = 0
    most: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.Response:
        self.requests += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            body = await request.read()
            await self.open.wait()
        finally:
            self.under_way -= 1
        assert len(body) <= LIMIT_BYTES
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200:
            self.users += [user["user_id"] for user in json.loads(body)["users"]]
        return web.Response(status=status)


@contextlib.asynccontextmanager
async def reporting(url: str, **changes: str) -> AsyncIterator[FirstSeenReports]:
    async with aiohttp.ClientSession() as session:
        reports = FirstSeenReports(session, read_gate_settings({**ENVIRON, "MAIN_URL": url, **changes}))
        task = asyncio.create_task(reports.run())
        try:
            yield reports
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def main_process(main: Main) -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_post(first_seen_reports.PATH, main.answer)
    async with served(application) as url:
        yield url


async def all_of(main: Main, expected: int) -> bool:
    return len(main.users) == expected


async def test_a_main_process_that_hangs_gets_a_bounded_number_of_requests() -> None:
    main, count = Main(), MAX_REPORTS * MAX_A_REPORT * 2
    async with main_process(main) as url, reporting(url) as reports:
        futures = [reports.add("skai", f"u{number}") for number in range(count)]

        async def busy() -> bool:
            return main.under_way == MAX_REPORTS

        await until(busy, "every slot is used")
        assert not any(future.done() for future in futures if isinstance(future, asyncio.Future))
        main.open.set()
        await until(lambda: all_of(main, count), "all are reported")
        assert sorted(main.users) == sorted(f"u{number}" for number in range(count))
        assert main.most == MAX_REPORTS


async def test_an_outage_is_logged_once_and_loses_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(first_seen_reports, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(first_seen_reports, "MAX_WAITING", 300)
    main, count = Main(statuses=[503] * 40), 0
    main.open.set()
    async with main_process(main) as url, reporting(url) as reports:
        while reports.add("skai", f"u{count}") is not False:
            count += 1
            await asyncio.sleep(0)
            assert count < 2000
        assert reports.add("skai", "u0") is not False  # known already
        await until(lambda: all_of(main, count), "all are reported")
    assert [row.message for row in caplog.records].count("first_seen_report_failed") == 1


@pytest.mark.parametrize("status", [400, 413, 415])
async def test_a_report_that_is_refused_is_not_repeated(status: int, caplog: pytest.LogCaptureFixture) -> None:
    main = Main(statuses=[status])
    main.open.set()
    async with main_process(main) as url, reporting(url) as reports:
        future = reports.add("skai", "u1")
        assert isinstance(future, asyncio.Future)
        await asyncio.wait_for(future, 20)
        second = reports.add("skai", "u2")
        assert isinstance(second, asyncio.Future)
        await asyncio.wait_for(second, 20)
    assert (main.requests, main.users) == (2, ["u2"])
    assert "first_seen_report_refused" in caplog.text


async def test_the_longest_ids_fit_into_a_body() -> None:
    main = Main()
    main.open.set()
    async with main_process(main) as url, reporting(url) as reports:
        for number in range(MAX_A_REPORT * 2):
            reports.add("a" * 63, f"{number:03}" + "\U0001f600" * 197)
        await until(lambda: all_of(main, MAX_A_REPORT * 2), "all are reported")


async def test_without_a_main_process_users_stay_queued(caplog: pytest.LogCaptureFixture) -> None:
    async with reporting(f"http://127.0.0.1:{free_port()}") as reports:
        future = reports.add("skai", "u1")
        assert isinstance(future, asyncio.Future)

        async def failed() -> bool:
            return "first_seen_report_failed" in caplog.text

        await until(failed, "the outage is logged")
        assert not future.done()
        assert reports.add("skai", "u1") is future
