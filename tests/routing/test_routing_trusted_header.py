"""T30: an app that trusts a header, behind the real Traefik, the real gate and a sign-in of the operator's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from aiohttp import web
from routing_apps import apps_json
from routing_stage import SECRET, Headers, Stage, serve
from servers.traefik import Traefik, until

from gateway.access.app_access import app_access
from gateway.access.table import TierTable
from gateway.catalog import parse
from gateway.catalog.model import Catalog
from gateway.gate import GateHandler, listen
from gateway.metrics import Registry
from gateway.routing import plan, traefik_file
from gateway.settings import Secret

pytestmark = pytest.mark.needs_traefik
HOST = "blog.test"
FORGED = [
    [("Remote-User", "alice")],
    [("remote-user", "alice")],
    [("REMOTE-USER", "alice"), ("Remote-User", "alice")],
    [("Remote_User", "alice")],
    [("remote_user", "alice"), ("Remote-User", "alice")],
    [("Connection", "close, Remote-User"), ("Remote-User", "alice")],
    [("X-SK-User", "alice"), ("X-SK-Tier", "pro")],
]


@dataclass
class SignIn:
    """Authelia's part: the cookie `session` is the user's name; without one everybody passes as anonymous, as its
    policy `bypass` has it, and /private leads to its page."""

    requests: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append(request.headers["X-Forwarded-Uri"])
        user = request.cookies.get("session")
        if user is None and request.headers["X-Forwarded-Uri"].startswith("/private"):
            return web.Response(status=302, headers={"Location": "https://auth.test/"})
        return web.Response(headers={"Remote-User": user} if user else {})


def catalog(app_url: str, gate_url: str) -> Catalog:
    tree = json.loads(apps_json([("blog", [HOST])], gate_url=[gate_url]))
    app = tree["apps"][0]
    app["upstream"] = app_url
    app["identity"] = [{"kind": "header", "name": "Remote-User", "after": "authelia@file"}]
    app["tiers"] = [{"id": "free", "name": "Free"}, {"id": "pro", "name": "Pro", "prices": [{"price_id": "price_1"}]}]
    app["routes"] = [{"path": "/pro", "min_tier": "pro"}]
    return parse(json.dumps(tree).encode())


def authelia(url: str, **options: object) -> str:
    middleware = {"forwardAuth": {"address": url, "trustForwardHeader": False, **options}}
    return yaml.safe_dump({"http": {"middlewares": {"authelia": middleware}}})


@asynccontextmanager
async def staged(folder: Path, **options: object) -> AsyncIterator[tuple[Stage, SignIn]]:
    """Traefik with the routes and with what an operator has: Authelia's middleware with these options."""
    stage, sign_in, table = Stage(), SignIn(), TierTable()
    table.set("blog", "alice", "pro")
    async with AsyncExitStack() as stack:
        app_url, auth_url = await serve(stack, stage.app), await serve(stack, sign_in.answer)
        gate = GateHandler(
            secrets=(Secret(SECRET),),
            public_url="https://pay.test",
            table=table,
            sign_link=lambda *_, **__: "t",
            registry=Registry(),
        )
        listener = await listen(gate, "127.0.0.1", 0)
        stack.push_async_callback(listener.close, 0.2)
        apps = catalog(app_url, f"http://127.0.0.1:{listener.port}")
        gate.install({app.app_id: app_access(app, {}, {}) for app in apps.apps.values()})
        gate.ready = True
        (folder / "skpayments.yml").write_text(traefik_file(plan(apps, "https://pay.test")))
        if options:
            (folder / "authelia.yml").write_text(authelia(auth_url, **options))
        stage.traefik = await stack.enter_async_context(Traefik(dynamic_dir=folder, env={"GATE_SECRET": SECRET}))
        await stage.traefik.until_routers("sk-app-blog@file")
        await stage.traefik.until_served("pay.test")
        yield stage, sign_in


def sent(headers: Headers, *names: str) -> list[tuple[str, str]]:
    return [(key.lower(), value) for key, value in headers if key.lower() in names]


async def test_the_operators_middleware_sets_the_user(tmp_path: Path) -> None:
    async with staged(tmp_path, authResponseHeaders=["Remote-User"]) as (stage, sign_in):
        assert stage.traefik is not None
        assert await stage.traefik.errors() == 0
        answer = await stage.ask(HOST, "/pro", [("Cookie", "session=alice"), ("Remote-User", "mallory")])
        assert answer.status == 200
        got = stage.app_got[-1][2]
        assert sent(got, "x-sk-user", "x-sk-tier") == [("x-sk-tier", "pro"), ("x-sk-user", "alice")]
        assert sent(got, "remote-user") == [("remote-user", "alice")]
        assert (await stage.ask(HOST, "/pro", [("Cookie", "session=bob")])).status == 402
        assert (await stage.ask(HOST, "/private")).status == 302
        assert sign_in.requests == ["/pro", "/pro", "/private"]


@pytest.mark.parametrize("options", [{"authResponseHeaders": ["Remote-User"]}, {"maxResponseBodySize": 65536}])
async def test_a_clients_own_trusted_header_has_no_effect(tmp_path: Path, options: dict[str, object]) -> None:
    """Not even where the operator's middleware forgot to hand the header on, and so leaves the visitor's alone."""
    async with staged(tmp_path, **options) as (stage, _):
        for forged in FORGED:
            assert (await stage.ask(HOST, "/pro", forged)).status == 401, forged
            assert (await stage.ask(HOST, "/", forged)).status == 200, forged
            got = stage.app_got[-1][2]
            assert sent(got, "x-sk-user", "x-sk-tier") == [("x-sk-tier", "free")], forged
            assert sent(got, "remote-user", "remote_user") == [], forged


async def test_without_the_operators_middleware_the_app_is_not_reached(tmp_path: Path) -> None:
    async with staged(tmp_path) as (stage, _):
        traefik = stage.traefik
        assert traefik is not None

        async def disabled() -> bool:
            return (await traefik.routers())["sk-app-blog@file"]["status"] == "disabled"

        await until(disabled, "Traefik drops the router")
        assert (await stage.ask(HOST, "/", [("Remote-User", "alice")])).status == 404
        assert stage.app_got == []
