"""Traffic by tier through the real Traefik: each has its own upstream and limits, and no client chooses one."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from routing_stage import HOST, PUBLIC_HOST, SECOND_HOST, Headers, Stage, staged
from servers.traefik import free_port, until

from gateway.catalog.model import GateKind
from gateway.routing import traefik_file

pytestmark = pytest.mark.needs_traefik

THREE_A_MINUTE = {"average": 1, "period": "1m", "burst": 3}
# As our static configuration has them.
WITH_MIDDLEWARES = {"http": {"middlewares": ["sk-in@file"]}}
# Every header by which a client might try to select another child router.
FORGED = [
    (name, "pro")
    for name in ("X-SK-Tier", "x-sk-tier", "X_SK_Tier", "X.SK.Tier", "X-SK_Tier", "Cookie2", "X-Forwarded-Tier")
] + [("X-SK-User", "somebody-else"), ("X_SK_User", "somebody-else"), ("X-SK-App", "shop")]


def tiers(tree: Any, stage: Stage) -> None:
    """free: three a minute, two at once. pro: an upstream of its own, many. vip: only the upstream. gold: nothing."""
    app = tree["apps"][0]
    app["upstream"] = {"default": stage.app_url, "pro": stage.fast_url, "vip": stage.fast_url}
    app["tiers"] = [
        {"id": "free", "name": "Free", "traffic": {"rate": THREE_A_MINUTE, "in_flight": 2}},
        {"id": "pro", "name": "Pro", "traffic": {"rate": {"average": 1000, "burst": 2000}}},
        {"id": "vip", "name": "VIP"},
        {"id": "gold", "name": "Gold"},
    ]


def behind_tunnel(tree: Any, stage: Stage) -> None:
    tiers(tree, stage)
    tree["routing"]["trusted_ips"] = ["127.0.0.1/32"]


def by(tier: str, user: str = "") -> Headers:
    return [("Cookie", f"tier={tier}; user={user}" if user else f"tier={tier}")]


async def times(stage: Stage, number: int, headers: Headers, host: str = HOST, path: str = "/") -> Counter[int]:
    return Counter([(await stage.ask(host, path, headers)).status for _ in range(number)])


@pytest.mark.parametrize(
    ("rendering", "gate_kind"), [("file", "forward_auth"), ("http", "forward_auth"), ("http", "plugin")]
)
async def test_traffic_by_tier(rendering: str, gate_kind: GateKind, tmp_path: Path) -> None:
    async with staged(rendering, tmp_path, edit=tiers, gate_kind=gate_kind) as stage:
        assert stage.traefik is not None
        assert await stage.traefik.errors() == 0
        assert {router["status"] for router in (await stage.traefik.routers()).values()} == {"enabled"}
        await each_tier_has_its_upstream(stage)
        await a_limit_is_one_users_on_one_tier(stage)
        await no_client_chooses_a_tier_router(stage)
        await only_so_many_at_once(stage)
        assert (await stage.ask(PUBLIC_HOST, "/health")).status == 200


async def each_tier_has_its_upstream(stage: Stage) -> None:
    for tier, upstream in (("pro", b"fast"), ("vip", b"fast"), ("gold", b"[["), ("not-heard-of-yet", b"[[")):
        for host in (HOST, SECOND_HOST):
            answer = await stage.ask(host, "/", by(tier, "u"))
            assert (answer.status, answer.body[: len(upstream)]) == (200, upstream), tier
    assert dict(stage.app_got[-1][2])["X-Sk-Tier"] == "not-heard-of-yet"
    assert (await stage.ask(HOST, "/paid", by("pro", "u"))).status == 402


async def a_limit_is_one_users_on_one_tier(stage: Stage) -> None:
    assert await times(stage, 5, by("free", "alice")) == {200: 3, 429: 2}
    # The app's other host is no second helping.
    assert await times(stage, 2, by("free", "alice"), SECOND_HOST) == {429: 2}
    assert await times(stage, 3, by("free", "bob")) == {200: 3}
    assert await times(stage, 9, by("pro", "carol")) == {200: 9}
    # Anonymous requests have no user: they are counted by address, and separately from those of users.
    assert await times(stage, 5, by("free")) == {200: 3, 429: 2}
    assert await times(stage, 3, by("free", "dave")) == {200: 3}
    # The very same person on a better tier.
    assert await times(stage, 3, by("pro", "alice")) == {200: 3}


async def no_client_chooses_a_tier_router(stage: Stage) -> None:
    assert await times(stage, 1, [*by("free", "alice"), *FORGED]) == {429: 1}
    assert await times(stage, 1, [*by("free"), *FORGED]) == {429: 1}
    answer = await stage.ask(HOST, "/", [*by("free", "erin"), *FORGED])
    assert answer.body[:2] == b"[["
    assert await times(stage, 4, [*by("free", "erin"), *FORGED]) == {200: 2, 429: 2}


async def only_so_many_at_once(stage: Stage) -> None:
    waiting = [asyncio.create_task(stage.ask(HOST, "/hold", by("free", "frank"))) for _ in range(2)]

    async def both_wait() -> bool:
        return sum(path == "/hold" for _, path, _ in stage.app_got) == 2

    await until(both_wait, "two requests at the app")
    assert await times(stage, 1, by("free", "frank")) == {429: 1}
    assert await times(stage, 1, by("free", "grace")) == {200: 1}
    assert await times(stage, 1, by("pro", "heidi")) == {200: 1}
    stage.let_go.set()
    assert [answer.status for answer in await asyncio.gather(*waiting)] == [200, 200]


async def test_two_entry_points_are_no_second_helping_either(tmp_path: Path) -> None:
    """Where they have middlewares Traefik makes a router for each of them; the child router stays one."""
    port = free_port()
    points = {"web": WITH_MIDDLEWARES, "more": {"address": f"127.0.0.1:{port}", **WITH_MIDDLEWARES}}

    def both(tree: Any, stage: Stage) -> None:
        tiers(tree, stage)
        tree["routing"]["entry_points"] = list(points)

    async with staged("file", tmp_path, edit=both, entry_points=points) as stage:
        assert stage.traefik is not None
        assert await stage.traefik.errors() == 0
        assert await times(stage, 2, by("free", "alice")) == {200: 2}
        answers = [(await stage.ask(HOST, "/", by("free", "alice"), port=port)).status for _ in range(3)]
        assert answers == [200, 429, 429]
        assert (await stage.ask(HOST, "/", by("pro", "bob"), port=port)).body == b"fast"
        assert await times(stage, 1, by("free", "alice")) == {429: 1}


async def test_behind_a_tunnel_anonymous_requests_are_counted_by_the_address_that_its_edge_adds(tmp_path: Path) -> None:
    async with staged("file", tmp_path, behind_tunnel=True, edit=behind_tunnel) as stage:
        one, two = [("X-Forwarded-For", "203.0.113.1")], [("X-Forwarded-For", "203.0.113.2")]
        assert await times(stage, 4, one) == {200: 3, 429: 1}
        assert await times(stage, 3, two) == {200: 3}
        # What stands before it is the visitor's own invention.
        assert await times(stage, 1, [("X-Forwarded-For", "198.51.100.9, 203.0.113.1")]) == {429: 1}
        # In IPv6 a visitor has as many addresses as they like.
        for number in range(3):
            assert await times(stage, 1, [("X-Forwarded-For", f"2001:db8::{number:x}")]) == {200: 1}
        assert await times(stage, 1, [("X-Forwarded-For", "2001:db8::ffff")]) == {429: 1}


async def _with(stage: Stage, folder: Path, change: Any, mark: str = "mark") -> None:
    """Let Traefik load the plan with something changed in it, and wait until it has; `mark` is another each time."""
    document = yaml.safe_load(traefik_file(stage.plan()))
    change(document["http"])
    document["http"]["routers"][mark] = {"rule": f"Host(`{mark}`)", "service": "sk-public"}
    (folder / "skpayments.yml").write_text(yaml.safe_dump(document))
    assert stage.traefik is not None
    await stage.traefik.until_served(mark)


async def test_a_broken_tier_router_leads_nowhere_and_breaks_no_other(tmp_path: Path) -> None:
    async with staged("file", tmp_path, edit=tiers) as stage:
        await _with(stage, tmp_path, lambda http: http["middlewares"].pop("sk-rate-blog_free"))
        assert stage.traefik is not None
        assert await stage.traefik.errors() == 1
        assert await times(stage, 1, by("free", "alice")) == {404: 1}
        assert await times(stage, 1, by("free")) == {200: 1}
        assert await times(stage, 1, by("pro", "bob")) == {200: 1}
        assert await times(stage, 1, by("gold", "carol")) == {200: 1}


@pytest.mark.parametrize("web", [{}, WITH_MIDDLEWARES])
async def test_no_request_reaches_a_child_router_whose_gate_is_broken(web: Any, tmp_path: Path) -> None:
    """A child router has no gate of its own: it depends on Traefik calling the gate at its parent first. With
    middlewares on the entry point, Traefik forgets that a child router without parents ever had some."""
    async with staged("file", tmp_path, edit=tiers, entry_points={"web": web}) as stage:
        for mark, change in (
            ("gate", lambda http: http["middlewares"].pop("sk-gate-blog")),
            ("parents", lambda http: [http["routers"].pop(name) for name in ("sk-app-blog", "sk-app-blog_2")]),
        ):
            await _with(stage, tmp_path, change, mark)
            gate_calls = len(stage.gate_got)
            for host in (HOST, SECOND_HOST, "other.test"):
                for headers in (by("pro", "u"), [("X-SK-Tier", "pro"), ("X-SK-User", "u")], []):
                    assert (await stage.ask(host, "/", headers)).status == 404
            assert len(stage.gate_got) == gate_calls
        assert stage.app_got == []


@pytest.mark.parametrize("tunnel", [True, False])
async def test_our_own_router_counts_by_visitor_and_not_by_tunnel(tunnel: bool, tmp_path: Path) -> None:
    edit = behind_tunnel if tunnel else tiers
    async with staged("file", tmp_path, behind_tunnel=tunnel, edit=edit) as stage:
        # Three a minute in the place of a hundred a second: a busy machine brings no hundred.
        change = {"average": 1, "period": "1m", "burst": 3}
        await _with(stage, tmp_path, lambda http: http["middlewares"]["sk-public-rate"]["rateLimit"].update(change))

        async def visits(address: str) -> list[int]:
            headers = [("X-Forwarded-For", address)]
            return [(await stage.ask(PUBLIC_HOST, "/health", headers)).status for _ in range(4)]

        assert await visits("203.0.113.1") == [200, 200, 200, 429]
        # Without trusted addresses clients can forge the header, so all share one limit.
        assert await visits("203.0.113.2") == ([200, 200, 200, 429] if tunnel else [429] * 4)
