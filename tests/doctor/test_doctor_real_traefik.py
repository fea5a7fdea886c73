"""The doctor against the API of a real Traefik: it accepts each rendering and finds routers that Docker adds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from routing.routing_stage import HOST, RENDERINGS, SECRET, Stage, staged
from servers.fake_docker_engine import Container, FakeDockerEngine
from servers.running import environ_of
from servers.traefik import Traefik, free_port, until

from gateway.catalog import parse
from gateway.catalog.model import GateKind
from gateway.doctor.context import CheckContext, Options, run_check
from gateway.doctor.traefik import _version, examine_traefik
from gateway.settings import read_settings
from gateway.stripe.client import Stripe
from gateway.stripe.transport import Transport

pytestmark = pytest.mark.needs_traefik


@asynccontextmanager
async def check_context(folder: Path, document: bytes, api: str) -> AsyncIterator[CheckContext]:
    nobody = "http://127.0.0.1:9"
    environ = environ_of(folder, stripe_url=nobody, litellm_url=nobody, GATE_SECRET=SECRET)
    settings = read_settings({**environ, "PUBLIC_URL": "https://pay.test"})
    async with aiohttp.ClientSession() as session:
        stripe = Stripe(Transport(session, settings.stripe_secret_key, api_base=nobody))
        yield CheckContext(settings, parse(document), Options(traefik_api=api), session, stripe, None, "")


async def findings(context: CheckContext) -> list[tuple[str, str]]:
    """(subject, message) of all that is not well."""
    found = await run_check(context, "traefik", examine_traefik)
    return [(each.subject, each.message) for each in found if each.state != "ok"]


@pytest.mark.parametrize(
    ("rendering", "kind"), [*((each, "forward_auth") for each in RENDERINGS), ("file", "plugin"), ("docker", "plugin")]
)
async def test_every_rendering_is_well(rendering: str, kind: GateKind, tmp_path: Path) -> None:
    def tier_routers(tree: Any, stage: Stage) -> None:
        tree["apps"][0]["tiers"][0]["traffic"] = {"in_flight": 5}

    # Labels cannot tell tiers apart.
    edit = tier_routers if rendering in ("file", "http") else lambda tree, stage: None
    async with staged(rendering, tmp_path, gate_kind=kind, edit=edit) as stage:
        assert stage.traefik is not None
        async with check_context(tmp_path, stage.document(), stage.traefik.api_url) as context:
            assert await findings(context) == []


async def test_a_container_that_docker_exposes_by_default(tmp_path: Path) -> None:
    """Traefik makes it a router of its own, at whatever port the image says, past the gate (T39)."""

    def upstream(tree: Any, stage: Stage) -> None:
        tree["apps"][0]["upstream"] = "http://127.0.0.1:80"

    async with (
        FakeDockerEngine(
            [Container("open-webui", {"traefik.http.services.x.loadbalancer.server.port": "80"})]
        ) as engine,
        staged("file", tmp_path, edit=upstream) as stage,
    ):
        static = {"providers": {"docker": {"endpoint": engine.endpoint, "exposedByDefault": True}}}
        async with Traefik(static, tmp_path, {"GATE_SECRET": SECRET}) as traefik:
            await traefik.until_routers("sk-app-blog@file", "open-webui@docker")
            async with check_context(tmp_path, stage.document(), traefik.api_url) as context:
                ((subject, message),) = await findings(context)
                assert subject == "traefik: gate on every router"
                assert message.startswith("open-webui@docker (Host(`open-webui")
                assert message.endswith("leads to blog (127.0.0.1:80) without the gate")


@pytest.mark.parametrize(
    ("forwarded", "result", "expected"),
    [
        ({"insecure": True}, [], ["web: trusts X-Forwarded headers of every peer (insecure)"]),
        ({"trustedIPs": ["172.16.0.0/12", "10.1.2.3/32"]}, ["10.1.2.3"],
         ["web: trusts 172.16.0.0/12, 10.1.2.3/32, apps.json 10.1.2.3", "web: trusts the whole network 172.16.0.0/12"]),
        ({"trustedIPs": ["172.20.0.5/32"]}, ["172.20.0.5"], []),
        ({"trustedIPs": ["172.20.0.5/32"]}, [], ["web: trusts 172.20.0.5/32, apps.json nobody"]),
        ({"insecure": False}, ["172.20.0.5/32"], ["web: trusts nobody, apps.json 172.20.0.5/32"]),
    ],
)  # fmt: skip
async def test_trusted_peers_of_the_entry_points(
    forwarded: dict[str, Any], result: list[str], expected: list[str], tmp_path: Path
) -> None:
    def trusting(tree: Any, stage: Stage) -> None:
        tree["routing"]["trusted_ips"] = result

    async with staged("file", tmp_path, edit=trusting) as stage:
        static = {"entryPoints": {"web": {"forwardedHeaders": forwarded}}}
        async with Traefik(static, tmp_path, {"GATE_SECRET": SECRET}) as traefik:
            await traefik.until_routers("sk-app-blog@file")
            async with check_context(tmp_path, stage.document(), traefik.api_url) as context:
                assert await findings(context) == [("traefik: entry points", line) for line in expected]


API = """
http:
  routers:
    sk-api:
      rule: PathPrefix(`/api`) && Header(`X-SK-Gate`, `{{ env "GATE_SECRET" }}`)
      entryPoints: [ops]
      service: api@internal
"""


async def test_the_api_may_ask_for_the_gates_secret(tmp_path: Path) -> None:
    """As SOP.md has it: it shows that very secret, so nobody else on the network may read it."""
    sop = (Path(__file__).parents[2] / "SOP.md").read_text(encoding="utf-8")
    assert "\n".join(f"   {line}" for line in API.strip().splitlines()) in sop
    async with staged("file", tmp_path) as stage:
        (tmp_path / "doctor.yml").write_text(API)
        ops = f"127.0.0.1:{free_port()}"
        static = {"api": {"insecure": True}, "entryPoints": {"ops": {"address": ops}}}
        async with Traefik(static, tmp_path, {"GATE_SECRET": SECRET}) as traefik, aiohttp.ClientSession() as session:
            await traefik.until_routers("sk-app-blog@file", "sk-api@file")

            async def status(**headers: str) -> int:
                async with session.get(f"http://{ops}/api/http/middlewares", headers=headers) as answer:
                    return answer.status

            async def served() -> bool:
                return await status(**{"X-SK-Gate": SECRET}) == 200

            await until(served, "the API on its own entry point")
            for wrong in ({}, {"X-SK-Gate": ""}, {"X-SK-Gate": "x"}, {"Host": HOST}):
                assert await status(**wrong) == 404
            async with check_context(tmp_path, stage.document(), f"http://{ops}") as context:
                assert await findings(context) == []
                (tmp_path / "doctor.yml").write_text(API.replace("api@internal", "nobody"))

                async def broken() -> list[tuple[str, str]]:
                    insecure = replace(context, options=replace(context.options, traefik_api=traefik.api_url))
                    return await findings(insecure)

                ((_, message),) = await until(broken, "the router is broken")
                assert SECRET not in message


async def test_what_is_not_traefik(tmp_path: Path) -> None:
    async with staged("file", tmp_path) as stage:
        assert stage.traefik is not None
        for api, message in (
            (stage.traefik.url, "Traefik's API answered 404 to /api/version."),
            (stage.app_url, "What answers there is not Traefik's API."),
            ("http://127.0.0.1:9", "no answer: ClientConnectorError"),
        ):
            async with check_context(tmp_path, stage.document(), api) as context:
                assert await findings(context) == [("traefik", message)]


@pytest.mark.parametrize(
    ("version", "state"),
    [("3.7.13", "ok"), ("v3.8.0", "ok"), ("3.7.12", "warning"), ("2.11.57", "warning"), ("dev", "warning")],
)
def test_versions_with_known_holes(version: str, state: str) -> None:
    assert _version(version).state == state
