"""Traefik's static configuration, generated: for every provider the real one starts with it and serves our routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from routing_apps import PUBLIC_URL, apps_json
from routing_stage import SECRET, serve
from servers.fake_docker_engine import Container, FakeDockerEngine
from servers.found import require
from servers.running import PUBLIC_HOST
from servers.traefik import Traefik, free_port, until

from gateway.catalog import parse
from gateway.errors import ConfigError
from gateway.routing import Plan, docker_labels, files_of, plan, swarm_labels, traefik_document


def planned(**routing: Any) -> Plan:
    return plan(parse(apps_json([("blog", ["blog.test"])], **routing)), PUBLIC_URL)


def read(routes: Plan) -> Any:
    return yaml.safe_load(files_of(routes, "static")["traefik.yml"])


def test_every_option_has_its_reason() -> None:
    """A line that is no section has a comment above it, or is one of a list whose first has."""
    for routing in ({}, {"cert_resolver": "le"}, {"provider": "docker"}, {"provider": "swarm"}):
        lines = files_of(planned(**routing), "static")["traefik.yml"].splitlines()
        for above, line in pairwise(lines):
            if line and not line.lstrip().startswith("#") and not line.endswith(":"):
                assert above.lstrip().startswith("#") or "allowEncoded" in line, line


def test_it_contains_the_values_of_routing() -> None:
    routes = planned(
        entry_points=["web", "websecure"], cert_resolver="le", trusted_ips=["172.20.0.5/32"], network="edge",
        provider="docker", traefik_version="3.8.1", traefik_url="http://traefik:80",
    )  # fmt: skip
    static = read(routes)
    assert {name: point["address"] for name, point in static["entryPoints"].items()} == {
        "web": ":80", "websecure": ":443", "ops": ":8082",
    }  # fmt: skip
    for name in ("web", "websecure"):
        assert static["entryPoints"][name]["forwardedHeaders"] == {"trustedIPs": ["172.20.0.5/32"]}
        assert static["entryPoints"][name]["http"]["maxHeaderBytes"] == 65536
        assert set(static["entryPoints"][name]["http"]["encodedCharacters"].values()) == {False}
    assert static["providers"]["docker"] == {"exposedByDefault": False, "network": "edge"}
    assert list(static["certificatesResolvers"]) == ["le"]
    assert "Traefik 3.8.1 or newer" in files_of(routes, "static")["traefik.yml"]


def test_an_entry_point_of_another_name_listens_where_the_tunnel_goes() -> None:
    static = read(planned(entry_points=["tunnel", "ops"], traefik_url="http://traefik:9000"))
    assert {name: point["address"] for name, point in static["entryPoints"].items()} == {
        "tunnel": ":9000", "ops": ":8001", "sk-ops": ":8082",
    }  # fmt: skip
    assert static["ping"] == {"entryPoint": "sk-ops"}


def test_the_http_providers_secret_comes_from_compose() -> None:
    """Traefik's file has no variables, and takes no flags beside it: so all of it is flags."""
    files = files_of(planned(provider="http"), "static")
    assert sorted(files) == ["dynamic/entry-point.yml", "traefik-command.yml"]
    (command,) = [service["command"] for service in yaml.safe_load(files["traefik-command.yml"])["services"].values()]
    assert [flag for flag in command if "$" in flag] == ["--providers.http.headers.X-SK-Gate=${GATE_SECRET}"]


async def _app(request: web.Request) -> web.Response:
    return web.Response(text=request.headers.get("X-SK-Tier", "no tier"))


async def _gate(request: web.Request) -> web.Response:
    right = request.headers.get("X-SK-Gate") == SECRET
    return web.Response(status=200 if right else 403, headers={"X-SK-Tier": "pro"})


@pytest.mark.needs_traefik
@pytest.mark.parametrize("provider", ["docker", "swarm"])
async def test_the_real_traefik_starts_with_it_and_serves_labels(provider: Any, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        app = await serve(stack, _app)
        routes = planned(
            provider=provider, gate_url=[await serve(stack, _gate)], public_service_url=app,
            entry_points=["web", "more"], trusted_ips=["127.0.0.1/32"],
        )  # fmt: skip
        static = read(routes)
        labels = docker_labels if provider == "docker" else swarm_labels
        key = "traefik.http.services.sk-app-blog.loadBalancer.server.port"
        tags = {
            name: {label: value.replace("${GATE_SECRET}", SECRET) for label, value in labels(routes, app_id).items()}
            | ({key: app.rpartition(":")[2]} if app_id else {})
            for name, app_id in (("blog", "blog"), ("skpayments", None))
        }
        containers = [Container(name, each) for name, each in tags.items()]
        engine = await stack.enter_async_context(
            FakeDockerEngine(containers) if provider == "docker" else FakeDockerEngine(services=containers)
        )
        static["providers"][provider]["endpoint"] = engine.endpoint
        traefik = await stack.enter_async_context(await _started(static, routes, tmp_path))
        # Where entry points have middlewares, Traefik makes a router for each of them.
        await traefik.until_routers(*(f"{name}-sk-app-blog@{provider}" for name in ("web", "more")))
        await traefik.until_served(PUBLIC_HOST)
        assert await traefik.errors() == 0
        assert '"level":"error"' not in traefik.log()
        await _serves(stack, traefik.url)


async def _started(static: Any, routes: Plan, folder: Path) -> Traefik:
    """With ports and folders of the test's own, and the ping where the test looks for it."""
    (folder / "entry-point.yml").write_text(files_of(routes, "static")["dynamic/entry-point.yml"])
    static["providers"]["file"].pop("directory")
    for name, entry_point in static["entryPoints"].items():
        entry_point["address"] = f"127.0.0.1:{free_port()}"
        if name == "web":
            del entry_point["address"]
    return Traefik({**static, "ping": {"entryPoint": "traefik"}}, folder, {"GATE_SECRET": SECRET})


async def _serves(stack: AsyncExitStack, url: str) -> None:
    session = await stack.enter_async_context(aiohttp.ClientSession())
    async with session.get(url, headers={"Host": "blog.test", "X-SK-Tier": "forged"}) as answer:
        assert (answer.status, await answer.text()) == (200, "pro")


@pytest.mark.needs_traefik
async def test_the_real_traefik_starts_with_its_flags_and_asks_us_for_the_routes(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        app = await serve(stack, _app)
        gate_secrets: list[str | None] = []
        routing = {"provider": "http", "cert_resolver": "le", "entry_points": ["web", "websecure"]}
        routes = planned(**routing, gate_url=[await serve(stack, _gate)], public_service_url=app)
        document: Any = traefik_document(routes, SECRET)
        document["http"]["services"]["sk-app-blog"] = {"loadBalancer": {"servers": [{"url": app}]}}
        for router in document["http"]["routers"].values():
            router.pop("tls")  # a certificate is to be had from outside only

        async def provide(request: web.Request) -> web.Response:
            gate_secrets.append(request.headers.get("X-SK-Gate"))
            return web.json_response(document)

        engine = await stack.enter_async_context(FakeDockerEngine([]))
        web_port, ops_port = free_port(), free_port()
        (tmp_path / "entry-point.yml").write_text(files_of(routes, "static")["dynamic/entry-point.yml"])
        changed = {
            "entryPoints.web.address": f"127.0.0.1:{web_port}",
            "entryPoints.websecure.address": f"127.0.0.1:{free_port()}",
            "entryPoints.ops.address": f"127.0.0.1:{ops_port}",
            "providers.file.directory": str(tmp_path),
            "providers.http.endpoint": await serve(stack, provide) + "/traefik",
            "certificatesResolvers.le.acme.storage": str(tmp_path / "acme.json"),
        }
        flags = [*_flags(routes, changed), f"--providers.docker.endpoint={engine.endpoint}"]
        await stack.enter_async_context(_program(flags, f"http://127.0.0.1:{ops_port}/ping", tmp_path))
        url = f"http://127.0.0.1:{web_port}"
        session = await stack.enter_async_context(aiohttp.ClientSession())

        async def served() -> bool:
            async with session.get(url, headers={"Host": "blog.test"}) as answer:
                return answer.status == 200

        await until(served, "our routes")
        await _serves(stack, url)
        assert set(gate_secrets) == {SECRET}


def _flags(routes: Plan, changed: dict[str, str]) -> list[str]:
    """As compose hands them over: the secret in the place of its variable."""
    (service,) = yaml.safe_load(files_of(routes, "static")["traefik-command.yml"])["services"].values()
    flags = []
    for flag in service["command"]:
        name, _, value = flag.removeprefix("--").partition("=")
        flags.append(f"--{name}={changed.get(name, value)}".replace("${GATE_SECRET}", SECRET))
    assert set(changed) <= {flag.removeprefix("--").partition("=")[0] for flag in flags}
    return flags


@asynccontextmanager
async def _program(flags: list[str], ping: str, folder: Path) -> AsyncIterator[None]:
    """Traefik with these flags and nothing else, until the block ends."""
    with (folder / "traefik.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(require("traefik"), *flags, stdout=log, stderr=log, env={})
    try:
        async with aiohttp.ClientSession() as session:

            async def up() -> bool:
                assert process.returncode is None, (folder / "traefik.log").read_text()
                try:
                    async with session.get(ping) as answer:
                        return answer.status == 200
                except aiohttp.ClientConnectionError:
                    return False

            await until(up, "traefik up", 30)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def test_an_entry_point_with_a_dot_is_no_flag() -> None:
    with pytest.raises(ConfigError, match=r"'web\.1': a flag of Traefik's takes a dot for something else"):
        files_of(planned(provider="http", entry_points=["web.1"]), "static")
    assert read(planned(entry_points=["web.1"]))["entryPoints"]["web.1"]["address"] == ":80"
