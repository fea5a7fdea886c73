"""What stands around Traefik in the routing tests: a gate, an app and a public listener that keep what they got."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from servers.fake_docker_engine import Container, FakeDockerEngine
from servers.traefik import PLUGINS_DIR, WITH_PLUGIN, Traefik

from gateway.catalog import parse
from gateway.catalog.model import GateKind
from gateway.routing import Plan, docker_labels, plan, swarm_labels, traefik_document, traefik_file

SECRET = "0123456789abcdef0123456789abcdef"
HOST, SECOND_HOST, PUBLIC_HOST = "blog.test", "www.blog.test", "pay.test"
Headers = Sequence[tuple[str, str]]


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Stage:
    """`gate_got` and `app_got`: (method, path with query, raw headers) of each request, in order.

    `edit(tree, stage)` changes the one app's apps.json before it is parsed. Requests to /hold wait for `let_go`.
    """

    gate_secret: str = SECRET
    edit: Callable[[Any, Stage], object] = lambda tree, stage: None
    gate_kind: GateKind = "forward_auth"
    gate_got: list[tuple[str, str, Headers]] = field(default_factory=list)
    app_got: list[tuple[str, str, Headers]] = field(default_factory=list)
    public_got: list[tuple[str, str, Headers]] = field(default_factory=list)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    gate_url: str = ""
    app_url: str = ""
    fast_url: str = ""
    public_url: str = ""
    traefik: Traefik | None = None

    def document(self) -> bytes:
        """An apps.json of one app with two hosts, over these servers."""
        app = {
            "id": "blog",
            "name": "Blog",
            "hosts": [HOST, SECOND_HOST],
            "upstream": self.app_url,
            "identity": [{"kind": "openwebui", "secret": "env:A"}],
            "urls": {"success": "https://blog.test/", "cancel": "https://blog.test/"},
            "tiers": [{"id": "free", "name": "Free"}],
        }
        routing = {"gate_url": [self.gate_url], "public_service_url": self.public_url}
        tree = {"apps": [app], "routing": routing}
        self.edit(tree, self)
        return json.dumps(tree).encode()

    def plan(self) -> Plan:
        return plan(parse(self.document()), f"https://{PUBLIC_HOST}/base", self.gate_kind)

    async def ask(
        self,
        host: str,
        target: str = "/",
        headers: Headers = (),
        body: bytes = b"",
        port: int | None = None,
        method: str = "",
    ) -> Answer:
        """One request with these very bytes, as no client library would send them; to another entry point's port."""
        assert self.traefik is not None
        port = port or int(self.traefik.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            lines = [f"{method or ('POST' if body else 'GET')} {target} HTTP/1.1", f"Host: {host}"]
            lines += [f"{key}: {value}" for key, value in headers]
            if not any(key.lower() == "connection" for key, _ in headers):
                lines.append("Connection: close")
            if body:
                lines.append(f"Content-Length: {len(body)}")
            writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
            async with asyncio.timeout(40):
                return await _answer(reader)
        finally:
            writer.close()

    async def gate(self, request: web.Request) -> web.Response:
        """Who has the cookies `tier=x; user=y` is y on tier x; anything below /paid is refused, /up leads to a page."""
        if request.path == "/gate/changes":
            return web.json_response({"error": "too_many"}, status=503)  # so the plugin asks for each request
        self.gate_got.append(_observed(request))
        if request.headers.getall("X-SK-Gate", []) != [self.gate_secret]:
            return web.json_response({"error": "forbidden"}, status=403)
        path = request.headers["X-Forwarded-Uri"]
        if path.startswith("/paid"):
            return web.json_response({"error": "tier_required"}, status=402, headers={"X-SK-Tier": "free"})
        if path.startswith("/up"):
            return web.Response(status=303, headers={"Location": "/buy/page"})
        if path.startswith("/large"):
            return web.Response(text="x" * 100_000)
        tier = request.cookies.get("tier", "free")
        user = {"X-SK-User": request.cookies["user"]} if "user" in request.cookies else {}
        return web.Response(headers={"X-SK-App": request.query["app"], **user, "X-SK-Tier": tier, "X-SK-Features": ""})

    async def app(self, request: web.Request) -> web.Response:
        self.app_got.append(_observed(request))
        if request.path == "/hold":
            await self.let_go.wait()
        return web.json_response([list(pair) for pair in _observed(request)[2]])

    async def fast(self, _: web.Request) -> web.Response:
        return web.Response(text="fast")

    async def public(self, request: web.Request) -> web.Response:
        self.public_got.append(_observed(request))
        return web.Response(text=str(len(await request.read())))


def _observed(request: web.Request) -> tuple[str, str, Headers]:
    pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers]
    return request.method, request.path_qs, pairs


async def _answer(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = [line.split(": ", 1) for line in head[1:] if ": " in line]
    headers = {key.lower(): value for key, value in pairs}
    if "content-length" in headers:
        return Answer(int(head[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"])))
    return Answer(int(head[0].split()[1]), headers, await reader.read())


async def serve(stack: AsyncExitStack, handler: Any) -> str:
    """The URL of a server that answers every request with `handler`, until the stack unwinds."""
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


RENDERINGS = ("file", "http", "docker", "swarm")


@asynccontextmanager
async def staged(
    rendering: str,
    folder: Path,
    *,
    behind_tunnel: bool = False,
    traefik_secret: str = SECRET,
    edit: Callable[[Any, Stage], object] = lambda tree, stage: None,
    entry_points: dict[str, Any] | None = None,
    gate_kind: GateKind = "forward_auth",
) -> AsyncIterator[Stage]:
    """The stage with the real Traefik, which has the plan from this provider; `behind_tunnel` it trusts its peer."""
    stage = Stage(edit=edit, gate_kind=gate_kind)
    async with AsyncExitStack() as stack:
        stage.gate_url = await serve(stack, stage.gate)
        stage.app_url = await serve(stack, stage.app)
        stage.fast_url = await serve(stack, stage.fast)
        stage.public_url = await serve(stack, stage.public)
        static = await _provider(stack, rendering, stage.plan(), folder, traefik_secret)
        trusted = {"forwardedHeaders": {"trustedIPs": ["127.0.0.1/32"]}} if behind_tunnel else {}
        static |= {"entryPoints": entry_points or {"web": trusted}, **(WITH_PLUGIN if gate_kind == "plugin" else {})}
        dynamic_dir = folder if rendering == "file" else None
        stage.traefik = await stack.enter_async_context(
            Traefik(static, dynamic_dir=dynamic_dir, env={"GATE_SECRET": traefik_secret}, plugins_dir=PLUGINS_DIR)
        )
        # Where several entry points have middlewares, Traefik makes a router for each of them.
        prefixes = [f"{name}-" for name in static["entryPoints"]] if len(static["entryPoints"]) > 1 else [""]
        names = [f"{prefix}{router.name}@{rendering}" for router in stage.plan().routers for prefix in prefixes]
        await stage.traefik.until_routers(*names)
        for entry_point in static["entryPoints"].values():
            address = entry_point.get("address")
            await stage.traefik.until_served(PUBLIC_HOST, f"http://{address}" if address else "")
        stage.public_got.clear()
        yield stage


async def _provider(
    stack: AsyncExitStack, rendering: str, routes: Plan, folder: Path, traefik_secret: str
) -> dict[str, Any]:
    if rendering == "file":
        (folder / "skpayments.yml").write_text(traefik_file(routes))
        return {}
    if rendering == "http":
        document = traefik_document(routes, traefik_secret)

        async def dynamic(_: web.Request) -> web.Response:
            return web.json_response(document)

        return {"providers": {"http": {"endpoint": await serve(stack, dynamic), "pollInterval": "1s"}}}
    if rendering == "swarm":
        services = [
            Container(str(app_id), _as_compose(swarm_labels(routes, app_id), traefik_secret))
            for app_id in ("blog", None)
        ]
        engine = await stack.enter_async_context(FakeDockerEngine(services=services))
        return {"providers": {"swarm": {"endpoint": engine.endpoint, "exposedByDefault": False}}}
    containers = [
        Container(str(app_id), _as_compose(docker_labels(routes, app_id), traefik_secret)) for app_id in ("blog", None)
    ]
    engine = await stack.enter_async_context(FakeDockerEngine(containers))
    return {"providers": {"docker": {"endpoint": engine.endpoint, "exposedByDefault": False}}}


def _as_compose(labels: dict[str, str], secret: str) -> dict[str, str]:
    """What compose makes of these values: references replaced, doubled dollars single."""
    return {
        key: "$".join(part.replace("${GATE_SECRET}", secret) for part in value.split("$$"))
        for key, value in labels.items()
    }
