"""Every rendering, loaded by the real Traefik: the same requests get the same answers, and nothing is ever open."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import yaml
from routing_apps import PUBLIC_URL, apps_json
from routing_stage import HOST, PUBLIC_HOST, RENDERINGS, SECOND_HOST, SECRET, Stage, staged
from servers.traefik import Traefik, until

from gateway.catalog import parse
from gateway.catalog.model import GateKind, Routing
from gateway.files import write_atomically
from gateway.routing import plan, traefik_file
from gateway.routing.model import HostHeader, Plan, Service

pytestmark = pytest.mark.needs_traefik

# Written by hand, from the names that backends read as X-SK-Tier.
FORGED = (
    "X-SK-Tier", "x-sk-tier", "X-Sk-Tier", "X_SK_Tier", "X-SK_Tier", "X_SK-Tier", "X-SK-Tier_", "X.SK.Tier",
    "X!SK!Tier", "X~SK~Tier", "X#SK#Tier", "X$SK$Tier", "X%SK%Tier", "X&SK&Tier", "X'SK'Tier", "X*SK*Tier",
    "X+SK+Tier", "X^SK^Tier", "X`SK`Tier", "X|SK|Tier", "XSK-Tier", "X--SK--Tier", "X-SK-User", "X_SK_User",
    "X-SK-Features", "X-SK-App", "X-SK-Anything", "X_SK_Gate", "X-SK-Gate",
)  # fmt: skip
KEPT = ("X-Skate", "X-Sky-Net", "api_key", "access_token", "X-Task")
OURS = re.compile(r"(?i)^x[^a-z0-9]*sk[^a-z0-9]")


def named(headers: object, name: str) -> list[str]:
    return [value for key, value in headers if key.lower() == name.lower()]  # type: ignore[attr-defined]  # pairs


async def the_matrix(stage: Stage) -> None:
    assert stage.traefik is not None
    assert await stage.traefik.errors() == 0
    assert {router["status"] for router in (await stage.traefik.routers()).values()} == {"enabled"}
    await tags_arrive_and_forged_ones_do_not(stage)
    await forwarded_headers_are_the_truth(stage)
    await refusals_reach_the_client_and_nothing_the_app(stage)
    await our_own_router_is_the_one_without_a_gate(stage)
    await doctors_path_comes_to_us_through_the_apps_chain(stage)


async def tags_arrive_and_forged_ones_do_not(stage: Stage) -> None:
    forged = [(name, "forged") for name in FORGED] + [(name, "mine") for name in KEPT]
    for extra in ([], forged, [("Connection", "close, X-SK-Tier, x-sk-tier, X-SK-Gate"), *forged]):
        answer = await stage.ask(HOST, "/read?a=1", [("Cookie", "tier=pro"), *extra])
        assert answer.status == 200, answer.body
        assert answer.headers["cloudflare-cdn-cache-control"] == "no-store"  # T40
        headers = stage.app_got[-1][2]
        ours = sorted((key.lower(), value) for key, value in headers if OURS.match(key))
        assert ours == [("x-sk-app", "blog"), ("x-sk-features", ""), ("x-sk-tier", "pro")]
        assert SECRET not in str(headers)
        for name in KEPT if extra else ():
            assert named(headers, name) == ["mine"], name
        at_gate = stage.gate_got[-1][2]
        assert stage.gate_got[-1][:2] == ("GET", "/gate?app=blog")
        by_plugin = [("X-Sk-Plugin", "1")] if stage.gate_kind == "plugin" else []
        assert sorted(pair for pair in at_gate if OURS.match(pair[0])) == [("X-Sk-Gate", SECRET), *by_plugin]
        assert "forged" not in str(at_gate)
    without = await stage.ask(HOST, "/read", forged)
    assert named(stage.app_got[-1][2], "X-SK-Tier") == ["free"]
    assert without.status == 200


async def forwarded_headers_are_the_truth(stage: Stage) -> None:
    lies = [
        ("X-Forwarded-Uri", "/lie"), ("X-Forwarded-Method", "OPTIONS"), ("X-Forwarded-Prefix", "/lie"),
        ("X-Forwarded-Host", "lie.test"), ("X-Original-Url", "/lie"), ("X-API-Key", "k"), ("Authorization", "Bearer t"),
    ]  # fmt: skip
    for host in (HOST, SECOND_HOST, HOST.upper()):
        assert (await stage.ask(host, "/truth?x=1", lies)).status == 200
        gate, app = stage.gate_got[-1][2], stage.app_got[-1][2]
        assert named(gate, "X-Forwarded-Uri") == ["/truth?x=1"]
        assert named(gate, "X-Forwarded-Method") == ["GET"]
        # The router's own host, whatever the letters in the request.
        assert [value.lower() for value in named(gate, "X-Forwarded-Host")] == [host.lower()]
        assert named(gate, "X-Forwarded-Prefix") == []
        assert named(gate, "X-Original-Url") == []
        assert named(gate, "X-API-Key") == ["k"]
        assert named(gate, "Authorization") == ["Bearer t"]
        assert named(app, "X-Forwarded-Uri") == named(app, "X-Forwarded-Method") == []
        assert named(app, "X-Forwarded-Prefix") == []
        assert named(app, "X-Forwarded-Host") == [host.lower()]


async def refusals_reach_the_client_and_nothing_the_app(stage: Stage) -> None:
    before = len(stage.app_got)
    refused = await stage.ask(HOST, "/paid", [("X-Forwarded-Uri", "/free")])
    assert (refused.status, refused.json()) == (402, {"error": "tier_required"})
    assert refused.headers["cloudflare-cdn-cache-control"] == "no-store"
    led = await stage.ask(SECOND_HOST, "/up")
    assert (led.status, led.headers["location"]) == (303, "/buy/page")
    assert (await stage.ask(HOST, "/large")).status == (503 if stage.gate_kind == "plugin" else 401)
    assert (await stage.ask("unknown.test", "/")).status == 404
    assert len(stage.app_got) == before


async def our_own_router_is_the_one_without_a_gate(stage: Stage) -> None:
    gate_calls = len(stage.gate_got)
    assert (await stage.ask(PUBLIC_HOST, "/health")).status == 200
    assert (await stage.ask(PUBLIC_HOST, "/webhook", body=b"x" * 2_000_000)).body == b"2000000"
    assert (await stage.ask(PUBLIC_HOST, "/webhook", body=b"x" * 2_100_000)).status == 413
    assert [target for _, target, _ in stage.public_got] == ["/health", "/webhook"]
    assert len(stage.gate_got) == gate_calls


async def doctors_path_comes_to_us_through_the_apps_chain(stage: Stage) -> None:
    before = len(stage.app_got)
    for host in (HOST, SECOND_HOST):
        forged = [(name, "forged") for name in FORGED]
        assert (await stage.ask(host, "/.skpayments/arrived?pass=x", [("Cookie", "tier=pro"), *forged])).status == 200
        method, target, headers = stage.public_got[-1]
        assert (method, target) == ("GET", "/.skpayments/arrived?pass=x")
        assert named(headers, "Host") == [host]
        ours = sorted((key.lower(), value) for key, value in headers if OURS.match(key))
        assert ours == [("x-sk-app", "blog"), ("x-sk-features", ""), ("x-sk-tier", "pro")]
        assert named(stage.gate_got[-1][2], "X-Forwarded-Uri") == ["/.skpayments/arrived?pass=x"]
    assert len(stage.app_got) == before
    assert (await stage.ask(HOST, "/.skpayments/arrived/more")).status == 200
    assert len(stage.app_got) == before + 1


@pytest.mark.parametrize("rendering", RENDERINGS)
@pytest.mark.parametrize("gate_kind", get_args(GateKind))
async def test_every_rendering_gives_the_same_answers_behind_a_tunnel(
    rendering: str, gate_kind: GateKind, tmp_path: Path
) -> None:
    """The harder case: Traefik believes its peer's X-Forwarded headers, and the peer passes the client's on."""
    async with staged(rendering, tmp_path, behind_tunnel=True, gate_kind=gate_kind) as stage:
        await the_matrix(stage)


async def test_the_file_gives_the_same_answers_without_a_tunnel(tmp_path: Path) -> None:
    async with staged("file", tmp_path) as stage:
        await the_matrix(stage)


@pytest.mark.parametrize("rendering", ["file", "docker"])
@pytest.mark.parametrize("traefik_secret", ["", "not the secret"])
@pytest.mark.parametrize("gate_kind", get_args(GateKind))
async def test_without_the_right_secret_every_request_is_refused(
    rendering: str, traefik_secret: str, gate_kind: GateKind, tmp_path: Path
) -> None:
    async with staged(rendering, tmp_path, traefik_secret=traefik_secret, gate_kind=gate_kind) as stage:
        for headers in ([], [("X-SK-Gate", SECRET)], [("X_SK_Gate", SECRET), ("Cookie", "tier=pro")]):
            answer = await stage.ask(HOST, "/read", headers)
            # Without any, the plugin does not even ask.
            assert answer.status == (503 if gate_kind == "plugin" and not traefik_secret else 403)
        assert stage.app_got == []


async def test_without_the_gate_every_request_is_refused(tmp_path: Path) -> None:
    async with staged("file", tmp_path) as stage:
        routes = stage.plan()
        dead = [replace(each, address="http://127.0.0.1:9/gate") if hasattr(each, "address") else each
                for each in routes.middlewares]  # fmt: skip
        assert stage.traefik is not None
        (tmp_path / "skpayments.yml").write_text(traefik_file(replace(routes, middlewares=tuple(dead))))

        async def refused() -> bool:
            return (await stage.ask(HOST, "/read", [("Cookie", "tier=pro")])).status == 500

        await until(refused, "500 from a dead gate")
        observed = len(stage.app_got)
        assert (await stage.ask(SECOND_HOST, "/read")).status == 500
        assert len(stage.app_got) == observed


async def test_a_template_in_a_value_stays_text_and_never_shows_the_environment(tmp_path: Path) -> None:
    """`plan` refuses such values; should one get through all the same, the file still does not run it."""
    hostile = '{{ env "GATE_SECRET" }}"\'`$ {{"{{"}} {{{{ }} é'
    routes = Plan(
        routers=(),
        children=(),
        middlewares=(HostHeader("a", hostile), HostHeader("b", f"\x07{hostile}")),
        services=(Service("a", "http://127.0.0.1:9"),),
        routing=Routing(),
    )
    text = traefik_file(routes)
    document = yaml.safe_load(text)
    document["http"]["services"] = {"a": {"loadBalancer": {"servers": [{"url": "http://127.0.0.1:9"}]}}}
    document["http"]["routers"] = {"a": {"rule": "Path(`/`)", "service": "a", "middlewares": ["a", "b"]}}
    (tmp_path / "a.yml").write_text(yaml.safe_dump(document, allow_unicode=True, width=10_000))
    async with Traefik(dynamic_dir=tmp_path, env={"GATE_SECRET": SECRET}) as traefik:
        await traefik.until_routers("a@file")
        middlewares = {each["name"]: each for each in await traefik.api("/api/http/middlewares")}
        got = [middlewares[f"{name}@file"]["headers"]["customRequestHeaders"]["X-Forwarded-Host"] for name in "ab"]
        assert got == [hostile, f"\x07{hostile}"]


async def test_a_thousand_apps_load_without_an_error(tmp_path: Path) -> None:
    many = parse(apps_json([(f"app-{number}", [f"app-{number}.example"]) for number in range(1000)]))
    (tmp_path / "skpayments.yml").write_text(traefik_file(plan(many, PUBLIC_URL)))
    async with Traefik(dynamic_dir=tmp_path, env={"GATE_SECRET": SECRET}) as traefik:
        routers = await traefik.until_routers("sk-app-app-999@file")
        assert len(routers) == 2001
        assert {router["status"] for router in routers.values()} == {"enabled"}
        assert await traefik.errors() == 0


async def test_an_edit_is_live_without_a_moment_in_which_the_host_is_open(tmp_path: Path) -> None:
    """The file is replaced again and again, with and without a second app; no request gets past the gate meanwhile."""
    async with staged("file", tmp_path) as stage:
        one = traefik_file(stage.plan())
        tree = json.loads(stage.document())
        tree["apps"].append(
            {**tree["apps"][0], "id": "shop", "hosts": ["shop.test"], "identity": [{"kind": "user_key"}]}
        )
        two = traefik_file(plan(parse(json.dumps(tree).encode()), PUBLIC_URL))
        for turn in range(60):
            write_atomically(tmp_path / "skpayments.yml", two if turn % 2 else one)
            assert (await stage.ask(HOST, "/paid", [("X-SK-Tier", "pro")])).status == 402
        assert stage.app_got == []


async def test_a_websocket_calls_the_gate_once_and_its_refusal_reaches_the_client(tmp_path: Path) -> None:
    upgrade = [
        ("Connection", "Upgrade, X-SK-Tier, X-Forwarded-Host"), ("Upgrade", "websocket"), ("X_SK_Tier", "forged"),
        ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]  # fmt: skip
    async with staged("file", tmp_path) as stage:
        assert (await stage.ask(HOST, "/paid/socket", upgrade)).status == 402
        assert stage.app_got == []
        assert (await stage.ask(HOST, "/socket", [*upgrade, ("Cookie", "tier=pro")])).status == 200
        headers = stage.app_got[-1][2]
        assert named(headers, "Upgrade") == ["websocket"]
        assert [value for key, value in headers if OURS.match(key)] == ["blog", "", "pro"]
        assert len(stage.gate_got) == 2
