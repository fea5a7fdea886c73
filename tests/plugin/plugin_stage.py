"""The real Traefik with the plugin, a scripted gate and an app that echoes its requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web
from fake_gate import FakeGate
from servers.traefik import PLUGINS_DIR, WITH_PLUGIN, Traefik, until

PLUGIN_DIR = PLUGINS_DIR / "plugins-local/src/github.com/skpayments/gate"
HOST = "blog.test"
ALICE = "token=alice"
Headers = Sequence[tuple[str, str]]


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def at_app(self) -> list[tuple[str, str]]:
        """The headers that the app got."""
        assert self.status == 200, (self.status, self.body)
        return [(name, value) for name, value in json.loads(self.body)]

    def tag(self, name: str = "X-SK-Tier") -> str | None:
        values = [value for key, value in self.at_app if key.lower() == name.lower()]
        assert len(values) <= 1
        return values[0] if values else None


@dataclass
class Stage:
    gate: FakeGate
    traefik: Traefik
    folder: Path
    app_url: str
    options: dict[str, Any] = field(default_factory=dict)

    def configure(self, *names: str, **options: Any) -> None:
        """Write a dynamic configuration with a gated router for each of these names, at `name.test`."""
        write(self.folder, self.app_url, names, {**self.options, **options})

    async def ask(self, target: str = "/a", *headers: tuple[str, str], method: str = "GET", host: str = HOST) -> Answer:
        """One request of these raw bytes, which no client library sends."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers)]
        head = "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")
        return read(await exchange(self.traefik.url, head), method)

    async def tier_of(self, cookie: str, target: str = "/a") -> str | None:
        return (await self.ask(target, ("Cookie", cookie))).tag()

    async def until_live(self) -> None:
        """Wait until the plugin keeps answers: two requests cause at most one call of the gate."""

        async def kept() -> bool:
            await self.ask("/probe", ("Cookie", "probe"))
            before = len(self.gate.requests)
            await self.ask("/probe", ("Cookie", "probe"))
            return len(self.gate.requests) == before

        await until(kept, f"kept answers, log:\n{self.traefik.log()[-2000:]}")
        self.gate.requests.clear()


async def exchange(url: str, request: bytes) -> bytes:
    """All bytes until Traefik closes."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


def read(raw: bytes, method: str = "GET") -> Answer:
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    pairs = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    answer = Answer(int(status.split()[1]), pairs, body)
    if method != "HEAD" and answer.all("Transfer-Encoding") == ["chunked"]:
        answer.body = _joined(body)
    return answer


def _joined(chunks: bytes) -> bytes:
    body = b""
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        body, chunks = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body


def write(folder: Path, app_url: str, names: Sequence[str], options: Mapping[str, Any]) -> None:
    plugin = {"plugin": {"skpayments": {**options}}}
    routers = {name: {"rule": f"Host(`{name}.test`)", "service": "app", "middlewares": ["gate"]} for name in names}
    bare = {"rule": "Host(`bare.test`)", "service": "app"}
    services = {"app": {"loadBalancer": {"servers": [{"url": app_url}]}}}
    document = {"http": {"routers": {**routers, "bare": bare}, "services": services, "middlewares": {"gate": plugin}}}
    ready = folder / "new"
    ready.write_text(yaml.safe_dump(document))
    ready.rename(folder / "routes.yml")


async def app(request: web.Request) -> web.StreamResponse:
    """Echoes its headers; accepts WebSockets."""
    pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers]
    if request.headers.get("Upgrade", "").lower() == "websocket":
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json(pairs)
        async for message in socket:
            await socket.send_str(f"heard {message.data}")
        return socket
    await request.read()
    return web.json_response(pairs)


@asynccontextmanager
async def staged(folder: Path, *, static: Mapping[str, Any] | None = None, **options: Any) -> AsyncIterator[Stage]:
    """A stage whose plugin already keeps answers. `options` go into the middleware's configuration."""
    gate = FakeGate(sessions={ALICE: ("alice", "pro"), "token=bob": ("bob", "free")})
    await gate.start()
    runner = web.AppRunner(_application(), access_log=None, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    app_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    base = {"gateUrl": [gate.url], "app": "blog", "secret": gate.secret, "headers": ["Authorization", "Cookie"]}
    write(folder, app_url, ["blog"], {**base, **options})
    try:
        async with Traefik({**WITH_PLUGIN, **(static or {})}, dynamic_dir=folder, plugins_dir=PLUGINS_DIR) as traefik:
            await traefik.until_routers("blog@file")
            assert await traefik.errors() == 0
            stage = Stage(gate, traefik, folder, app_url, options={**base, **options})
            await stage.until_live()
            yield stage
    finally:
        await gate.stop()
        await runner.cleanup()


def _application() -> web.Application:
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", app)
    return application
