"""The gate behind the real Traefik: what reaches the app, the client and Traefik's access log."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import pytest
import yaml
from access.access_samples import token
from routing.routing_stage import Headers, Stage, serve
from servers.running import (
    GATE_SECRET,
    PUBLIC_HOST,
    PUBLIC_URL,
    SESSION_SECRET,
    Running,
    running_application,
    write_apps,
)
from servers.traefik import PLUGINS_DIR, WITH_PLUGIN, Traefik, until

from gateway.catalog import parse
from gateway.catalog.model import GateKind
from gateway.routing import plan, traefik_file

pytestmark = pytest.mark.needs_traefik

STATIC = yaml.safe_load((Path(__file__).parents[2] / "traefik/traefik.yml").read_text(encoding="utf-8"))
SKAI, BLOG = "chat.example.com", "blog.example.com"
SIGN_IN = "https://chat.example.com/auth"
FORGED = [
    (name, "forged")
    for name in (
        "X-SK-Assertion", "x-sk-assertion", "X_SK_Assertion", "X.SK.Assertion", "X-SK_Assertion", "X!SK!Assertion",
        "XSK-Assertion", "X--SK--Assertion",
    )
]  # fmt: skip
# What a browser or a library sends to open a WebSocket; Sec-Fetch-Mode only browsers do.
HANDSHAKE = [
    ("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
]  # fmt: skip


@dataclass
class Place:
    running: Running
    stage: Stage

    def access_log(self) -> list[dict[str, Any]]:
        """The lines about the apps."""
        assert self.stage.traefik is not None
        lines = [json.loads(line) for line in self.stage.traefik.log().splitlines() if line.startswith('{"Client')]
        return [line for line in lines if line["RequestHost"] != PUBLIC_HOST]


@asynccontextmanager
async def place(folder: Path, gate: GateKind = "forward_auth") -> AsyncIterator[Place]:
    """skai with assertions, blog without; Traefik has the generated file and logs as traefik/traefik.yml says."""
    stage = Stage()
    async with AsyncExitStack() as stack:
        app_url = await serve(stack, stage.app)

        def change(apps: dict[str, Any]) -> None:
            apps["apps"][0].update(assertion=True, sign_in_url=SIGN_IN, upstream=app_url, cors=[FRONT])
            apps["apps"][1].update(upstream=app_url)

        write_apps(folder, change)
        running = await stack.enter_async_context(running_application(folder))
        document = json.loads((folder / "apps.json").read_bytes())
        document["routing"] = {"gate_url": [running.gate_url], "public_service_url": running.url}
        planned = plan(parse(json.dumps(document).encode()), PUBLIC_URL, gate)
        dynamic = folder / "dynamic"
        dynamic.mkdir()
        (dynamic / "skpayments.yml").write_text(traefik_file(planned), encoding="utf-8")
        static = {"accessLog": STATIC["accessLog"], **(WITH_PLUGIN if gate == "plugin" else {})}
        plugins = PLUGINS_DIR if gate == "plugin" else None
        stage.traefik = await stack.enter_async_context(Traefik(static, dynamic, {"GATE_SECRET": GATE_SECRET}, plugins))
        await stage.traefik.until_routers(*(f"{router.name}@file" for router in planned.routers))
        await stage.traefik.until_served(PUBLIC_HOST)
        yield Place(running, stage)


FRONT = "https://app.example.com"


def session(user_id: str) -> tuple[str, str]:
    made = token({"id": user_id, "exp": int(time.time()) + 600}, secret=SESSION_SECRET)
    return "Cookie", f"token={made.decode()}"


def assertions(headers: Headers) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if "assertion" in name.lower()]


async def test_the_assertion_arrives_and_a_forged_one_does_not_in_any_spelling(tmp_path: Path) -> None:
    async with place(tmp_path) as on:
        for more in ([], FORGED, [("Connection", "close, X-SK-Assertion"), *FORGED]):
            assert (await on.stage.ask(SKAI, "/", [session("bob"), *more])).status == 200
            ((name, value),) = assertions(on.stage.app_got[-1][2])
            assert name == "X-Sk-Assertion"
            keys = jwt.PyJWKClient(f"{on.running.url}/.well-known/jwks.json")
            key = await asyncio.to_thread(keys.get_signing_key_from_jwt, value)
            claims = jwt.decode(value, key, algorithms=["ES256"], audience="skai", issuer=PUBLIC_URL)
            assert (claims["sub"], claims["tier"]) == ("bob", "free")
            assert (await on.stage.ask(BLOG, "/", more)).status == 200
            assert assertions(on.stage.app_got[-1][2]) == []


async def test_refusals_reach_the_client_unchanged_and_the_log_with_their_tier(tmp_path: Path) -> None:
    async with place(tmp_path) as on:
        paid = await on.stage.ask(SKAI, "/api/v1/images", [session("bob")])
        assert (paid.status, paid.headers["x-sk-tier"]) == (402, "free")
        assert paid.headers["link"] == f'<{paid.json()["upgrade_url"]}>; rel="payment"'
        page = await on.stage.ask(SKAI, "/api/v1/images", [session("bob"), ("Sec-Fetch-Mode", "navigate")])
        assert (page.status, page.headers["x-sk-tier"]) == (303, "free")
        assert page.headers["link"] == f'<{page.headers["location"]}>; rel="payment"'
        nobody = await on.stage.ask(SKAI, "/api/v1/images")
        assert (nobody.status, nobody.headers["www-authenticate"]) == (401, 'Bearer realm="skai"')
        assert nobody.headers["link"] == f'<{SIGN_IN}>; rel="login"'
        assert (await on.stage.ask(SKAI, "/", [session("bob")])).status == 200
        for mode in ([("Sec-Fetch-Mode", "websocket")], []):
            socket = await on.stage.ask(SKAI, "/api/v1/images", [session("bob"), *HANDSHAKE, *mode])
            assert (socket.status, socket.json()["error"]) == (402, "tier_required")
            socket = await on.stage.ask(SKAI, "/api/v1/images", [*HANDSHAKE, *mode])
            assert (socket.status, socket.json()["error"]) == (401, "sign_in_required")
        assert len(on.stage.app_got) == 1

        async def logged() -> list[dict[str, Any]]:
            lines = on.access_log()
            return lines if len(lines) >= 8 else []

        lines = await until(logged, "eight lines in the access log")
        observed = [(each["DownstreamStatus"], each.get("downstream_X-Sk-Tier")) for each in lines[:4]]
        assert observed == [(402, "free"), (303, "free"), (401, None), (200, None)]
        assert lines[3]["request_X-Sk-Tier"] == "free"
        assert on.stage.traefik is not None
        assert str(paid.json()["upgrade_url"]).partition("?t=")[2] not in on.stage.traefik.log()


@pytest.mark.parametrize("gate", ["forward_auth", "plugin"])
async def test_cors_headers_are_on_refusals_and_the_app_sets_its_own(tmp_path: Path, gate: GateKind) -> None:
    names = ("access-control-allow-origin", "access-control-allow-credentials", "vary")
    async with place(tmp_path, gate) as on:
        for more, status in ((session("bob"), 402), (("X-Nothing", "1"), 401)):
            for origin, allowed in ((FRONT, (FRONT, "true")), ("https://evil.example", (None, None))):
                refused = await on.stage.ask(SKAI, "/api/v1/images", [more, ("Origin", origin)])
                found = tuple(refused.headers.get(name) for name in names)
                assert (refused.status, found) == (status, (*allowed, "Origin"))
                assert refused.json()["detail"]
        passed = await on.stage.ask(SKAI, "/", [session("bob"), ("Origin", FRONT)])
        assert (passed.status, "access-control-allow-origin" in passed.headers) == (200, False)


def preflight(origin: str, requested_method: str = "GET") -> list[tuple[str, str]]:
    return [("Origin", origin), ("Access-Control-Request-Method", requested_method),
            ("Access-Control-Request-Headers", "authorization,x-own")]  # fmt: skip


@pytest.mark.parametrize("gate", ["forward_auth", "plugin"])
async def test_the_preflight_of_a_refused_route_is_answered_for_an_allowed_origin_alone(
    tmp_path: Path, gate: GateKind
) -> None:
    async with place(tmp_path, gate) as on:
        ours = await on.stage.ask(SKAI, "/api/v1/images/x", preflight(FRONT), method="OPTIONS")
        assert ours.status == 204
        assert ours.headers["access-control-allow-origin"] == FRONT
        assert ours.headers["access-control-allow-credentials"] == "true"
        assert ours.headers["access-control-allow-methods"] == "GET"
        assert ours.headers["access-control-allow-headers"] == "authorization,x-own"
        assert "Origin" in ours.headers["vary"]
        assert on.stage.app_got == []
        for path, requested_method in (
            ("/free", preflight(FRONT)), ("/api/v1/imagesque", preflight(FRONT)),
            ("/api/v1/images", preflight("https://evil.example")), ("/api/v1/images", preflight(FRONT)[:1]),
        ):  # fmt: skip
            theirs = await on.stage.ask(SKAI, path, requested_method, method="OPTIONS")
            assert "access-control-allow-methods" not in theirs.headers, path
        assert len(on.stage.app_got) == 3  # passed to the app, as without `cors`; the last is no preflight
