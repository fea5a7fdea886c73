"""The plugin in the real Traefik with two gate processes of one database: their answers agree, and either may go."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web
from plugin_stage import Answer, app, exchange, read
from servers.gate_alone import GateAlone
from servers.running import (
    GATE_SECRET,
    PUBLIC_URL,
    SESSION_SECRET,
    Running,
    running_application,
    served,
    write_apps,
)
from servers.traefik import PLUGINS_DIR, WITH_PLUGIN, Traefik, free_port, until

from gateway.catalog import parse
from gateway.routing import plan, traefik_file

pytestmark = pytest.mark.needs_traefik
HOST = "chat.example.com"


@dataclass
class Splitter:
    """One address in front of two gates, as a balancer may send each connection to another: the stream is of the one at
    `stream_url`, answers are of the one at `answers_url`. `kept`: the X-SK-Keep of every answer."""

    session: aiohttp.ClientSession
    stream_url: str = ""
    answers_url: str = ""
    streams: int = 0
    kept: list[str] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)

    def application(self) -> web.Application:
        made = web.Application()
        made.router.add_get("/gate/changes", self._stream)
        made.router.add_get("/gate", self._answer)
        return made

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        url, headers = f"{self.stream_url}/gate/changes", {"X-SK-Gate": GATE_SECRET}
        async with self.session.get(url, headers=headers, timeout=aiohttp.ClientTimeout(None)) as found:
            await response.prepare(request)
            self.streams += 1
            async for line in found.content:
                await response.write(line)
        return response

    async def _answer(self, request: web.Request) -> web.Response:
        headers = [(name, value) for name, value in request.headers.items() if name.lower() != "host"]
        async with self.session.get(self.answers_url + request.path_qs, headers=headers) as found:
            self.requests[request.headers.get("Cookie", "")] += 1
            self.kept.append(found.headers.get("X-SK-Keep", ""))
            ours = {name: value for name, value in found.headers.items() if name.lower().startswith("x-sk-")}
            return web.Response(status=found.status, headers=ours, body=await found.read())


@dataclass
class Stage:
    running: Running
    gates: list[GateAlone]
    splitter: Splitter
    traefik: Traefik

    async def grant(self, user_id: str, tier_id: str) -> None:
        await self.running.admin("DELETE", f"/admin/grants/skai/{user_id}")
        grant = {"app_id": "skai", "user_id": user_id, "tier": tier_id, "reason": "test"}
        if tier_id != "free":
            assert (await self.running.admin("POST", "/admin/grants", grant))[0] in (200, 201)

    async def ask(self, user_id: str) -> Answer:
        head = f"GET /a HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookie(user_id)}\r\nConnection: close\r\n\r\n"
        return read(await exchange(self.traefik.url, head.encode()))

    async def until_tier(self, user_id: str, tier_id: str) -> None:
        async def is_it() -> bool:
            answer = await self.ask(user_id)
            return answer.status == 200 and answer.tag() == tier_id

        await until(is_it, f"{user_id} on {tier_id}; {self.traefik.log()[-1000:]}", 30)

    async def calls(self, user_id: str) -> int:
        """How many calls of a gate one request causes."""
        before = self.splitter.requests[cookie(user_id)]
        assert (await self.ask(user_id)).status == 200
        return self.splitter.requests[cookie(user_id)] - before

    async def until_cached(self, user_id: str) -> None:
        async def cached() -> bool:
            await self.ask(user_id)
            return await self.calls(user_id) == 0

        await until(cached, f"kept answers; {self.traefik.log()[-1000:]}; {self.splitter.kept[-3:]}", 30)


def cookie(user_id: str) -> str:
    return f"token={jwt.encode({'id': user_id, 'exp': 4_000_000_000}, SESSION_SECRET)}"


def url_of(gate: GateAlone) -> str:
    return f"http://127.0.0.1:{gate.port}"


@asynccontextmanager
async def staged(folder: Path, *, split: bool) -> AsyncIterator[Stage]:
    """`split`: the plugin knows one address, with both gates behind it; else the addresses of both."""
    async with AsyncExitStack() as stack:
        application = web.Application()
        application.router.add_route("*", "/{tail:.*}", app)
        app_url = await stack.enter_async_context(served(application))
        session = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
        splitter = Splitter(session)
        splitter_url = await stack.enter_async_context(served(splitter.application()))
        write_apps(folder, lambda tree: tree["apps"][0].update(upstream=app_url))
        running = await stack.enter_async_context(running_application(folder, PORT=str(free_port())))
        gates = [GateAlone(folder, running.environ) for _ in range(2)]
        for gate in gates:
            stack.push_async_callback(gate.stop)
            await gate.start()
        for gate in gates:
            await gate.until((200, "free"))
        splitter.stream_url, splitter.answers_url = map(url_of, gates)
        document = json.loads((folder / "apps.json").read_text())
        urls = [splitter_url] if split else [url_of(gate) for gate in gates]
        document["routing"] = {"gate": "plugin", "gate_url": urls, "public_service_url": app_url}
        dynamic = folder / "dynamic"
        dynamic.mkdir()
        (dynamic / "sk.yml").write_text(traefik_file(plan(parse(json.dumps(document).encode()), PUBLIC_URL)))
        traefik = Traefik(WITH_PLUGIN, dynamic, {"GATE_SECRET": GATE_SECRET}, PLUGINS_DIR)
        await stack.enter_async_context(traefik)
        await traefik.until_routers("sk-app-skai@file")
        await traefik.until_served(HOST)
        stage = Stage(running, gates, splitter, traefik)
        await stage.until_tier("u1", "free")
        yield stage


async def test_answers_of_one_gate_are_kept_under_the_stream_of_the_other_until_a_change(tmp_path: Path) -> None:
    async with staged(tmp_path, split=True) as stage:
        await stage.until_cached("u1")
        await stage.until_cached("u2")
        for tier_id in ("pro", "enterprise", "free"):
            await stage.grant("u1", tier_id)
            await stage.until_tier("u1", tier_id)
            await stage.until_cached("u1")
            assert (await stage.ask("u1")).tag() == tier_id
        epochs = {kept.split(" ")[0] for kept in stage.splitter.kept if kept}
        processes = {kept.split(" ")[2] for kept in stage.splitter.kept if kept}
        assert (len(epochs), len(processes)) == (1, 1)
        assert stage.splitter.streams == 1


async def test_a_reload_that_one_gate_has_not_made_keeps_none_of_its_answers(tmp_path: Path) -> None:
    """T48. The gate of the answers is frozen while the other reloads; once both have, answers are kept as before."""
    async with staged(tmp_path, split=True) as stage:
        await stage.until_cached("u1")
        streaming, answering = stage.gates
        version = stage.splitter.kept[-1].split(" ")[4]
        answering.process.send_signal(signal.SIGSTOP)
        try:
            stage.splitter.answers_url = url_of(streaming)

            def added(tree: dict[str, Any]) -> None:
                tree["apps"][0]["routes"].append({"path": "/new", "min_tier": "pro"})

            write_apps(stage.running.folder, added)

            async def reloaded() -> bool:
                await stage.ask("u2")
                kept = stage.splitter.kept[-1]
                return bool(kept) and kept.split(" ")[4] != version

            await until(reloaded, "the new version", 30)
            await stage.until_cached("u1")
        finally:
            answering.process.send_signal(signal.SIGCONT)
        stage.splitter.answers_url = url_of(answering)
        await stage.until_cached("u3")
        assert stage.splitter.kept[-1].split(" ")[4] != version


async def test_a_killed_gate_fails_no_request_and_its_changes_come_by_the_other(tmp_path: Path) -> None:
    async with staged(tmp_path, split=False) as stage:
        first, _ = stage.gates
        statuses: Counter[int] = Counter()
        stop = asyncio.Event()

        async def load(name: str) -> None:
            number = 0
            while not stop.is_set():
                statuses[(await stage.ask(f"{name}{number % 50}")).status] += 1
                number += 1

        loads = [asyncio.create_task(load(name)) for name in ("a", "b")]
        try:
            await stage.grant("u1", "pro")
            await stage.until_tier("u1", "pro")
            await first.end()
            await stage.until_tier("unknown", "free")
            for tier_id in ("enterprise", "free", "pro"):
                await stage.grant("u1", tier_id)
                await stage.until_tier("u1", tier_id)
            await first.start()
            await first.until((200, "free"))

            async def back() -> bool:
                return f"the gate at {url_of(first)} answers again: using it" in stage.traefik.log()

            await until(back, "the first gate in use", 30)
            await stage.grant("u1", "enterprise")
            await stage.until_tier("u1", "enterprise")
        finally:
            stop.set()
            await asyncio.gather(*loads)
        assert set(statuses) == {200}, statuses
        assert statuses[200] > 20


async def test_a_frozen_gate_delays_only_the_first_requests(tmp_path: Path) -> None:
    async with staged(tmp_path, split=False) as stage:
        first, second = stage.gates
        first.process.send_signal(signal.SIGSTOP)
        try:
            await stage.until_tier("unknown", "free")
            assert f"using {url_of(second)}" in stage.traefik.log()
            await stage.grant("u1", "pro")
            await stage.until_tier("u1", "pro")
            for number in range(30):
                assert (await stage.ask(f"new{number}")).status == 200
        finally:
            first.process.send_signal(signal.SIGCONT)
