"""The gate frozen, down, starting or restarted: which requests kept answers serve, and which are refused (T34)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable
from pathlib import Path

import pytest
from aiohttp import web
from plugin_stage import ALICE, Answer, Stage, staged
from servers.stopwatch import stopwatch
from servers.traefik import until

pytestmark = pytest.mark.needs_traefik
BOB, CAROL = "token=bob", "token=carol"


async def timed(answer: Awaitable[Answer]) -> tuple[int, float]:
    async with stopwatch() as watch:
        status = (await answer).status
    return status, watch.seconds


async def test_while_the_gate_is_down_kept_answers_serve_and_all_else_is_refused(tmp_path: Path) -> None:
    async with staged(tmp_path, staleFor=3) as stage:
        assert await stage.tier_of(ALICE) == "pro"
        await stage.gate.stop()
        gone_at = time.monotonic()
        assert await stage.tier_of(ALICE) == "pro"
        for target, cookie in (("/a", BOB), ("/paid/x", ALICE), ("/a//b%20c", ALICE), ("/.skpayments/upgrade", ALICE)):
            answer = await stage.ask(target, ("Cookie", cookie))
            assert answer.status == 503, target
            assert json.loads(answer.body)["error"] == "gate_unavailable"
            assert answer.all("Retry-After") == ["1"]
            assert answer.all("Cache-Control") == answer.all("Cloudflare-CDN-Cache-Control") == ["no-store"]
        while time.monotonic() - gone_at < 2:
            assert await stage.tier_of(ALICE) == "pro"
            await asyncio.sleep(0.1)

        async def refused() -> bool:
            return (await stage.ask("/a", ("Cookie", ALICE))).status == 503

        await until(refused, "the end of what was kept", 4)
        assert 2.5 < time.monotonic() - gone_at < 4
        await stage.gate.start()
        await stage.until_live()
        assert await stage.tier_of(ALICE) == "pro"


async def test_a_frozen_gate_delays_the_first_requests_for_a_second_and_no_others(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.tier_of(ALICE)
        stage.gate.answers_on.clear()
        stage.gate.heartbeats_on.clear()
        first = await asyncio.gather(*(timed(stage.ask("/a", ("Cookie", f"new={number}"))) for number in range(5)))
        assert {status for status, _ in first} == {503}
        assert all(seconds < 1.5 for _, seconds in first)

        async def down() -> bool:
            return (await timed(stage.ask("/a", ("Cookie", CAROL))))[1] < 0.3 or (
                await asyncio.gather(*(timed(stage.ask("/a", ("Cookie", CAROL))) for _ in range(2)))
            )[1][1] < 0.3

        await until(down, "refused at once")
        stage.gate.requests.clear()
        crowd = await asyncio.gather(*(timed(stage.ask("/a", ("Cookie", f"crowd={number}"))) for number in range(20)))
        kept = await asyncio.gather(*(timed(stage.ask("/a", ("Cookie", ALICE))) for _ in range(20)))
        assert {status for status, _ in crowd} == {503}
        assert len(stage.gate.requests) <= 2, "one at a time"
        assert sum(seconds > 0.5 for _, seconds in crowd) <= 2
        assert all(status == 200 and seconds < 0.5 for status, seconds in kept)
        stage.gate.answers_on.set()
        stage.gate.heartbeats_on.set()
        await stage.until_live()
        assert await stage.tier_of(BOB) == "free"


def not_ready() -> web.Response:
    return web.json_response({"error": "not_ready"}, status=503, headers={"Retry-After": "2"})


async def test_a_gate_that_answers_503_is_treated_as_down_for_kept_answers(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.tier_of(ALICE)
        stage.gate.refusal = not_ready
        stage.gate.streams_allowed = False
        stage.gate.cut()

        async def requested() -> bool:
            before = len(stage.gate.requests)
            assert await stage.tier_of(ALICE) == "pro"
            return len(stage.gate.requests) > before

        await until(requested, "questions again")
        answer = await stage.ask("/a", ("Cookie", BOB))
        assert (answer.status, answer.all("Retry-After")) == (503, ["2"])
        assert json.loads(answer.body) == {"error": "not_ready"}


async def test_a_gate_restarted_under_load_never_leads_to_a_wrong_tier(tmp_path: Path) -> None:
    """Wrong: older than what the gate had answered or published before the request was sent."""
    async with staged(tmp_path) as stage:
        result = {"user": 0}

        async def load(stop: asyncio.Event) -> int:
            served = 0
            while not stop.is_set():
                least = result["user"]
                answer = await stage.ask("/a", ("Cookie", CAROL))
                if answer.status == 200:
                    served += 1
                    assert int(str(answer.tag())) >= least
                else:
                    assert answer.status == 503
                await asyncio.sleep(0)
            return served

        stage.gate.sessions[CAROL] = ("carol", "0")
        stop = asyncio.Event()
        loads = [asyncio.create_task(load(stop)) for _ in range(4)]
        for tier in range(1, 13):
            if tier % 4 == 0:
                await stage.gate.stop()
                stage.gate.sessions[CAROL] = ("carol", str(tier))  # while it is down
                await stage.gate.start()
                stage.gate.number = 3
            else:
                stage.gate.change("carol", CAROL, str(tier))

            async def observed(tier: int = tier) -> bool:
                answer = await stage.ask("/a", ("Cookie", CAROL))
                return answer.status == 200 and answer.tag() == str(tier)

            await until(observed, f"tier {tier}")
            result["user"] = tier
        stop.set()
        assert sum(await asyncio.gather(*loads)) > 10


async def test_a_reload_keeps_stream_and_answers_and_the_last_instance_takes_the_stream_along(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.tier_of(ALICE)
        begun = stage.gate.streams_begun
        stage.configure("blog", "shop")
        await until_routers(stage, {"blog@file", "shop@file", "bare@file"})
        assert (stage.gate.streams, stage.gate.streams_begun) == (1, begun)
        stage.gate.requests.clear()
        assert await stage.tier_of(ALICE) == "pro"
        assert stage.gate.requests == []
        stage.configure()
        await until_routers(stage, {"bare@file"})
        await until(lambda: asyncio.sleep(0, stage.gate.streams == 0), "the end of the stream")
        stage.configure("blog")
        await until_routers(stage, {"blog@file", "bare@file"})
        await stage.until_live()


async def until_routers(stage: Stage, names: set[str]) -> None:
    async def there() -> bool:
        return set(await stage.traefik.routers()) == names

    await until(there, f"routers {names}")


async def test_a_wrong_secret_gets_no_kept_answers_of_the_right_one(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        assert await stage.tier_of(ALICE) == "pro"
        for secret in ("wrong", ""):
            stage.configure("blog", secret=secret)

            async def shut() -> bool:
                return (await stage.ask("/a", ("Cookie", ALICE))).status in (403, 503)

            await until(shut, f"refused with the secret {secret!r}")
            assert set(await stage.traefik.routers()) == {"blog@file", "bare@file"}
            assert await stage.traefik.errors() == 0, "a router with an error is dropped"
