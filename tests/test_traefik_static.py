"""traefik/: the static configuration boots the real Traefik with the committed routes and does what it says."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from servers.fake_docker_engine import Container, FakeDockerEngine
from servers.traefik import Traefik, free_port, until

from gateway.cli import main

ROOT = Path(__file__).parents[1]
STATIC = ROOT / "traefik/traefik.yml"
SECRET = "0123456789abcdef0123456789abcdef"
APP, PUBLIC = "chat.example.com", "pay.example.com"
ROUTERS = ("sk-app-skai@file", "sk-arrived-skai@file", "sk-public@file")


@dataclass
class Running:
    """Traefik, what stands behind it, and `ops_url`, the entry point that is never published."""

    traefik: Traefik
    ops_url: str
    session: aiohttp.ClientSession
    app_got: list[web.Request]

    async def ask(self, host: str, path: str = "/", **headers: str) -> int:
        url = self.traefik.url + path
        async with self.session.get(url, headers={"Host": host, **headers}, allow_redirects=False) as answer:
            return answer.status

    async def tiers_counted(self) -> set[str]:
        """Every value of the label `tier` in the metrics."""
        async with self.session.get(f"{self.ops_url}/metrics") as answer:
            return set(re.findall(r'tier="([^"]*)"', await answer.text()))

    def access_log(self) -> list[dict[str, Any]]:
        lines = (line for line in self.traefik.log().splitlines() if line.startswith('{"Client'))
        return [json.loads(line) for line in lines]


@asynccontextmanager
async def running(folder: Path, text: str = STATIC.read_text(encoding="utf-8")) -> AsyncIterator[Running]:
    """The real Traefik with our files; only ports, the folder and the addresses behind it are the test's own."""
    app_got: list[web.Request] = []

    async def gate(request: web.Request) -> web.Response:
        right = request.headers.getall("X-SK-Gate", []) == [SECRET] and request.query.get("app") == "skai"
        return web.Response(status=200 if right else 403, headers={"X-SK-Tier": "pro", "X-SK-App": "skai"})

    async def app(request: web.Request) -> web.Response:
        app_got.append(request)
        return web.Response(text="app")

    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        addresses = {
            "http://skpayments:8081": await _serve(stack, gate),
            "http://skpayments:8080": await _serve(stack, app),
            "http://open-webui:8080": await _serve(stack, app),
        }
        for file in (ROOT / "traefik/dynamic").glob("*.yml"):
            routes = file.read_text(encoding="utf-8")
            for name, address in addresses.items():
                routes = routes.replace(name, address)
            (folder / file.name).write_text(routes, encoding="utf-8")
        unlabelled = Container("somebodys-database", {})
        engine = await stack.enter_async_context(FakeDockerEngine([unlabelled]))
        static, ops = yaml.safe_load(text), f"127.0.0.1:{free_port()}"
        assert static["providers"]["file"].pop("directory") == "/etc/traefik/dynamic"
        assert static["entryPoints"]["web"].pop("address") == ":80"
        static["entryPoints"]["ops"]["address"] = ops
        static["providers"]["docker"]["endpoint"] = engine.endpoint
        traefik = await stack.enter_async_context(Traefik(_on_ops(static), folder, {"GATE_SECRET": SECRET}))
        await traefik.until_routers(*ROUTERS)
        await traefik.until_served(PUBLIC)
        app_got.clear()
        yield Running(traefik, f"http://{ops}", session, app_got)


def _on_ops(static: dict[str, Any]) -> dict[str, Any]:
    """With the ping where the test looks for it, which is the API's entry point."""
    assert static["ping"] == {"entryPoint": "ops"}
    return {**static, "ping": {"entryPoint": "traefik"}}


async def _serve(stack: AsyncExitStack, handler: Any) -> str:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


@pytest.mark.needs_traefik
async def test_the_real_traefik_boots_with_it(tmp_path: Path) -> None:
    async with running(tmp_path) as place:
        routers = await place.traefik.routers()
        assert await place.traefik.errors() == 0
        assert {name: router["status"] for name, router in routers.items()} == dict.fromkeys(ROUTERS, "enabled")
        assert all(router["entryPoints"] == ["web"] for router in routers.values())
        assert '"level":"error"' not in place.traefik.log()
        assert (await place.ask(APP), await place.ask(PUBLIC), await place.ask("other.example.com")) == (200, 200, 404)


@pytest.mark.needs_traefik
async def test_the_tier_in_log_and_metrics_is_the_gates_and_never_a_visitors(tmp_path: Path) -> None:
    async with running(tmp_path) as place:
        for number, host in enumerate((APP, PUBLIC, "other.example.com")):
            await place.ask(host, "/?t=a-signed-link", **{"X-SK-Tier": f"junk{number}", "Cookie": "token=secret"})

        async def counted() -> set[str]:
            tiers = await place.tiers_counted()
            return tiers if "pro" in tiers else set()

        assert await until(counted, "the tier in the metrics") == {"pro", ""}

        async def logged() -> list[dict[str, Any]]:
            lines = place.access_log()
            return lines if len(lines) >= 3 else []

        lines = {line["RequestHost"]: line for line in await until(logged, "three lines in the access log")}
        assert lines[APP]["request_X-Sk-Tier"] == "pro"
        assert "request_X-Sk-Tier" not in lines[PUBLIC]
        assert "a-signed-link" not in place.traefik.log()
        assert "token=secret" not in place.traefik.log()
        assert [request.headers.getall("X-SK-Tier", []) for request in place.app_got] == [["pro"], []]


@pytest.mark.needs_traefik
async def test_what_a_backend_could_read_otherwise_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as place:
        assert await place.ask(APP, "/a", Padding="x" * 70_000) == 431
        for path in ("/static%2F..%2Fpaid", "/a%5Cb", "/a%00", "/a%3Bb", "/a%25b", "/a%3Fb", "/a%23b"):
            url = place.traefik.url + path
            async with place.session.get(aiohttp.client.URL(url, encoded=True), headers={"Host": APP}) as answer:
                assert answer.status == 400, path
        assert place.app_got == []


@pytest.mark.needs_traefik
async def test_the_option_that_is_commented_out_does_what_its_comment_says(tmp_path: Path) -> None:
    text = STATIC.read_text(encoding="utf-8").replace("# aliasHeadersStrategy:", "aliasHeadersStrategy:")
    async with running(tmp_path, text) as place:
        assert await place.ask(APP, "/", **{"X_Forwarded_For": "10.0.0.1", "api_key": "k", "X-Kept": "1"}) == 200
        names = {name.lower() for name in place.app_got[-1].headers}
        assert "x-kept" in names
        assert not {"x_forwarded_for", "api_key"} & names


def test_nobody_is_trusted_and_nothing_is_exposed_by_default() -> None:
    static = yaml.safe_load(STATIC.read_text(encoding="utf-8"))
    assert static["entryPoints"]["web"]["forwardedHeaders"] == {"trustedIPs": []}
    assert static["providers"]["docker"] == {"exposedByDefault": False}
    assert static["experimental"] == {"abortOnPluginFailure": True}
    assert "api" not in static


@pytest.fixture
def committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what `skpay routes` reads and writes, with the working directory in it."""
    shutil.copytree(ROOT / "traefik", tmp_path / "traefik")
    shutil.copy(ROOT / "apps.json", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("APPS_FILE", raising=False)
    monkeypatch.setenv("PUBLIC_URL", f"https://{PUBLIC}")
    return tmp_path / "traefik"


def _check(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["skpay", "routes", "check", *words])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


def test_the_committed_routes_are_those_of_the_shipped_apps(
    committed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = _check(monkeypatch)
    assert code == 0, f"run: skpay routes write --public-url https://{PUBLIC}\n{capsys.readouterr().out}"
    assert _check(monkeypatch, "--format", "static") == 0, "run: skpay routes write --format static"
    (committed / "labels/skai.yml").write_text("services: {}\n")
    assert _check(monkeypatch) == 1
