"""What is broken at Traefik's level takes down the app that it belongs to: it opens nothing and hits no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from routing_stage import HOST, PUBLIC_HOST, SECOND_HOST, SECRET, Stage, staged
from servers.fake_docker_engine import Container, FakeDockerEngine
from servers.traefik import Traefik, until

from gateway.routing import docker_labels, traefik_file

pytestmark = pytest.mark.needs_traefik

SHOP = "shop.test"
HEADER = {"kind": "header", "name": "Remote-User", "after": "authelia@file"}


def two_apps(tree: Any, stage: Stage) -> None:
    """`blog` trusts a header of authelia's, and has child routers; `shop` is as any other."""
    blog = tree["apps"][0]
    shop = {**blog, "id": "shop", "hosts": [SHOP], "identity": [{"kind": "user_key"}]}
    blog["identity"] = [HEADER]
    blog["tiers"] = [{"id": "free", "name": "Free", "traffic": {"in_flight": 9}}, {"id": "pro", "name": "Pro"}]
    blog["upstream"] = {"default": stage.app_url, "pro": stage.fast_url}
    tree["apps"].append(shop)


async def blog_is_closed(stage: Stage) -> None:
    """Requests with every kind of claimed identity."""
    gate_calls, reached = len(stage.gate_got), len(stage.app_got)
    for host in (HOST, SECOND_HOST):
        for path in ("/", "/paid", "/static/x", "/.skpayments/arrived"):
            for headers in ([], [("X-SK-Tier", "pro"), ("X-SK-User", "u"), ("Remote-User", "admin")]):
                assert (await stage.ask(host, path, headers)).status == 404
    assert (len(stage.gate_got), len(stage.app_got)) == (gate_calls, reached)


async def the_others_are_well(stage: Stage) -> None:
    assert (await stage.ask(SHOP, "/", [("Cookie", "tier=free")])).status == 200
    assert (await stage.ask(SHOP, "/paid")).status == 402
    assert (await stage.ask(PUBLIC_HOST, "/health")).status == 200


async def test_an_app_whose_identity_middleware_is_missing_is_closed_until_it_is_there(tmp_path: Path) -> None:
    async with staged("file", tmp_path, edit=two_apps) as stage:
        await blog_is_closed(stage)
        await the_others_are_well(stage)
        sets = {"headers": {"customRequestHeaders": {"Remote-User": "alice"}}}
        (tmp_path / "authelia.yml").write_text(yaml.safe_dump({"http": {"middlewares": {"authelia": sets}}}))

        async def open_again() -> bool:
            return (await stage.ask(HOST, "/", [("Remote-User", "admin")])).status == 200

        await until(open_again, "the app with its middleware")
        # What the visitor sent is gone; what the middleware found is there.
        assert [value for name, value in stage.gate_got[-1][2] if name.lower() == "remote-user"] == ["alice"]
        await the_others_are_well(stage)


BROKEN: list[Any] = [
    lambda http: http["middlewares"]["sk-gate-blog"]["forwardAuth"].update(address="::no url"),
    lambda http: http["middlewares"].pop("sk-gate-blog"),
    lambda http: http["middlewares"].pop("sk-in"),
    lambda http: [http["middlewares"].pop(f"sk-host-{name}") for name in ("blog", "blog_2")],
    lambda http: http["middlewares"]["sk-gate-blog"].update(headers={"customRequestHeaders": {"A": "b"}}),
    lambda http: [http["services"].pop(name) for name in ("sk-app-blog", "sk-tier-blog_pro")],
]


async def test_whatever_of_an_apps_chain_is_broken_nothing_opens(tmp_path: Path) -> None:
    def plain(tree: Any, stage: Stage) -> None:
        two_apps(tree, stage)
        tree["apps"][0]["identity"] = [{"kind": "user_key"}]

    async with staged("file", tmp_path, edit=plain) as stage:
        assert (await stage.ask(HOST, "/")).status == 200
        assert stage.traefik is not None
        reached = len(stage.app_got)
        for number, broken in enumerate(BROKEN):
            document = yaml.safe_load(traefik_file(stage.plan()))
            broken(document["http"])
            document["http"]["routers"][f"mark{number}"] = {"rule": f"Host(`mark{number}`)", "service": "sk-public"}
            (tmp_path / "skpayments.yml").write_text(yaml.safe_dump(document))
            await stage.traefik.until_served(f"mark{number}")
            for host in (HOST, SECOND_HOST):
                for headers in ([], [("X-SK-Tier", "pro"), ("X-SK-User", "u")]):
                    assert (await stage.ask(host, "/", headers)).status in (404, 500), number
            assert len(stage.app_got) == reached, number
            if "sk-in" in document["http"]["middlewares"]:
                await the_others_are_well(stage)
                reached = len(stage.app_got)


@pytest.mark.parametrize("upstream", ["http://no-such-container:3000", "http://127.0.0.1:9"])
async def test_an_upstream_that_is_not_there_is_that_apps_502_after_the_gate(upstream: str, tmp_path: Path) -> None:
    def elsewhere(tree: Any, stage: Stage) -> None:
        two_apps(tree, stage)
        upstreams = {"default": upstream, "pro": stage.fast_url}
        tree["apps"][0].update(identity=[{"kind": "openwebui", "secret": "env:A"}], upstream=upstreams)

    async with staged("file", tmp_path, edit=elsewhere) as stage:
        assert (await stage.ask(HOST, "/")).status == 502
        assert (await stage.ask(HOST, "/paid")).status == 402
        assert (await stage.ask(HOST, "/", [("Cookie", "tier=pro")])).body == b"fast"
        await the_others_are_well(stage)


async def test_a_container_with_a_label_that_traefik_does_not_know_has_no_router_at_all(tmp_path: Path) -> None:
    """Not even the one that Traefik makes by default: its neighbours keep theirs."""

    def plain(tree: Any, stage: Stage) -> None:
        tree["apps"].append({**tree["apps"][0], "id": "shop", "hosts": [SHOP], "identity": [{"kind": "user_key"}]})

    async with staged("file", tmp_path, edit=plain) as stage:
        routes = stage.plan()

        def container(app_id: str | None, **more: str) -> Container:
            labels = {
                key: value.replace("${GATE_SECRET}", SECRET) for key, value in docker_labels(routes, app_id).items()
            }
            return Container(str(app_id), {**labels, **more})

        odd = {"traefik.http.middlewares.sk-gate-blog.forwardAuth.noSuchOption": "1"}
        containers = [container("blog", **odd), container("shop"), container(None)]
        async with FakeDockerEngine(containers) as engine:
            docker = {"endpoint": engine.endpoint, "exposedByDefault": False}
            async with Traefik({"providers": {"docker": docker}}) as traefik:
                stage.traefik = traefik
                routers = await traefik.until_routers("sk-app-shop@docker", "sk-public@docker")
                await traefik.until_served(PUBLIC_HOST)
                assert not any("blog" in name for name in routers)
                await blog_is_closed(stage)
                await the_others_are_well(stage)
