"""Traefik's HTTP provider while the gate is away, slow or cut off: routes stay, nothing opens, edits arrive later."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from routing_stage import serve
from servers.running import GATE_SECRET, Served, environ_of, vendors, write_apps
from servers.traefik import Traefik, free_port, until

pytestmark = pytest.mark.needs_traefik

CHAT, BLOG, NEWS = "chat.example.com", "blog.example.com", "news.example.com"
# Traefik asks again at 0.4 s, then ever later; after an outage of some seconds it is back within these.
AGAIN_SECONDS = 15.0
Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


@dataclass
class Wire:
    """What lies between Traefik's provider and the gate: a fault for every answer, until it is taken away."""

    gate_port: int
    delay_seconds: float = 0
    cut_after_bytes: int | None = None
    requests: int = 0
    port: int = 0

    async def carry(self, reader: Reader, writer: Writer) -> None:
        """One question and its answer."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            question = await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            await asyncio.sleep(self.delay_seconds)
            gate_reader, gate_writer = await asyncio.open_connection("127.0.0.1", self.gate_port)
            with contextlib.closing(gate_writer):
                gate_writer.write(question.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
                answer = await gate_reader.read()
            writer.write(answer if self.cut_after_bytes is None else answer[: self.cut_after_bytes])
            await writer.drain()

    @asynccontextmanager
    async def laid(self) -> AsyncIterator[Wire]:
        server = await asyncio.start_server(self.carry, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self


@dataclass
class Place:
    service: Served
    wire: Wire
    traefik: Traefik
    session: aiohttp.ClientSession
    upstream: str

    def write(self, *blog_hosts: str) -> None:
        """apps.json with these hosts for the blog."""

        def change(tree: dict[str, Any]) -> None:
            for app in tree["apps"]:
                app["upstream"] = self.upstream
            tree["apps"][1]["hosts"] = list(blog_hosts)
            tree["routing"] = {"provider": "http", "gate_url": [f"http://127.0.0.1:{self.service.gate_port}"]}

        write_apps(self.service.folder, change)

    async def status(self, host: str) -> int:
        async with self.session.get(self.traefik.url, headers={"Host": host}) as answer:
            return answer.status

    async def until_status(self, host: str, status: int) -> None:
        """Wait until this host answers so."""

        async def there() -> bool:
            return await self.status(host) == status

        await until(there, f"{host} answers {status}", AGAIN_SECONDS)

    async def until_requested(self, times: int = 3) -> None:
        """Wait until Traefik has polled its routes so many times more."""
        before = self.wire.requests

        async def requested() -> bool:
            return self.wire.requests >= before + times

        await until(requested, "Traefik asks for its routes")


@asynccontextmanager
async def place(folder: Path, *, gate_up: bool = True) -> AsyncIterator[Place]:
    """`skpay serve` as a process, the real Traefik, and a wire between them that can fail."""

    async def app(request: web.Request) -> web.Response:
        return web.Response(text=request.headers.get("X-SK-Tier", "no tier"))

    async with AsyncExitStack() as stack:
        around = await stack.enter_async_context(vendors())
        environ = environ_of(
            folder, stripe_url=around.stripe_url, litellm_url=around.litellm_url,
            PORT=str(free_port()), GATE_PORT=str(free_port()),
        )  # fmt: skip
        service = Served(folder, environ)
        wire = await stack.enter_async_context(Wire(service.gate_port).laid())
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)))
        upstream = await serve(stack, app)
        provider = {
            "endpoint": f"http://127.0.0.1:{wire.port}/traefik", "headers": {"X-SK-Gate": GATE_SECRET},
            "pollInterval": "300ms", "pollTimeout": "1s",
        }  # fmt: skip
        here = Place(service, wire, Traefik({"providers": {"http": provider}}), session, upstream)
        here.write(BLOG)
        if gate_up:
            await start(stack, here)
        await stack.enter_async_context(here.traefik)
        if gate_up:
            await here.until_status(BLOG, 200)
        yield here
        await service.stop()


async def start(stack: AsyncExitStack, here: Place) -> None:
    await here.service.start()
    stack.push_async_callback(here.service.stop)
    await here.service.until_up()


async def test_down_at_traefiks_boot_all_is_shut_and_opens_by_itself(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack, place(tmp_path, gate_up=False) as here:
        await here.until_requested()
        assert [await here.status(host) for host in (CHAT, BLOG)] == [404, 404]
        await start(stack, here)
        await here.until_status(BLOG, 200)
        assert await here.traefik.errors() == 0


async def test_killed_and_back_routes_stay_and_an_edit_in_between_is_live(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack, place(tmp_path) as here:
        routers = set(await here.traefik.routers())
        await here.service.stop()
        await here.until_requested()
        assert set(await here.traefik.routers()) == routers
        # Refused by a gate that is not there, not unknown: and never let through.
        assert [await here.status(host) for host in (CHAT, BLOG)] == [500, 500]
        await start(stack, here)
        # The routes were never lost, so nothing waits for Traefik's next question.
        await here.until_status(BLOG, 200)
        here.write(NEWS)
        await here.until_status(NEWS, 200)
        assert await here.status(BLOG) == 404


@pytest.mark.parametrize("fault", [{"delay_seconds": 1.5}, {"cut_after_bytes": 600}, {"cut_after_bytes": 0}], ids=str)
async def test_answers_that_come_late_or_in_part_change_nothing(fault: dict[str, Any], tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        for name, value in fault.items():
            setattr(here.wire, name, value)
        here.write(BLOG, NEWS)
        await here.until_requested(2)
        assert [await here.status(host) for host in (CHAT, BLOG, NEWS)] == [200, 200, 404]
        here.wire.delay_seconds, here.wire.cut_after_bytes = 0, None
        await here.until_status(NEWS, 200)


async def test_a_bad_edit_changes_nothing_and_a_good_one_is_live(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        here.write(BLOG, f"{NEWS}`")

        async def reported() -> bool:
            return "catalog_refused" in here.service.log

        await until(reported, "the bad edit is reported")
        await here.until_requested()
        assert [await here.status(host) for host in (CHAT, BLOG, NEWS)] == [200, 200, 404]
        here.write(NEWS)
        await here.until_status(NEWS, 200)
