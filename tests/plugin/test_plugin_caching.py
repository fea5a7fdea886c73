"""Which answers the plugin keeps, for which user and how long: the real Traefik and a scripted gate."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from fake_gate import route
from plugin_stage import ALICE, Stage, staged
from servers.stopwatch import stopwatch
from servers.traefik import until

pytestmark = pytest.mark.needs_traefik
BOB = "token=bob"


async def questions(stage: Stage, cookie: str, target: str = "/a", method: str = "GET") -> int:
    """How many calls of the gate one request causes."""
    before = len(stage.gate.requests)
    await stage.ask(target, ("Cookie", cookie), method=method)
    return len(stage.gate.requests) - before


async def until_requested(stage: Stage, cookie: str, target: str = "/a", seconds: float = 10) -> None:
    """Wait until a request calls the gate."""

    async def requested() -> bool:
        return await questions(stage, cookie, target) == 1

    await until(requested, f"a question for {cookie}", seconds)


async def test_an_answer_is_kept_for_its_user_and_its_class(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        assert await stage.tier_of(ALICE) == "pro"
        for target in ("/a", "/a?x=1", "/b/c.css", "/z?//../paid", "/Paidy"):
            assert await questions(stage, ALICE, target) == 0, target
        for method in ("HEAD", "POST", "PUT", "PATCH", "DELETE"):
            assert await questions(stage, ALICE, method=method) == 0, method
        assert await questions(stage, BOB) == 1
        assert await stage.tier_of(BOB) == "free"
        assert (await stage.ask("/a", ("Cookie", ALICE))).tag("X-SK-User") == "alice"
        assert (await stage.ask("/a", ("Cookie", BOB))).tag("X-SK-User") == "bob"


async def test_a_change_drops_the_kept_answers_of_its_user_only(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.gate.sessions["token=other"] = ("alice", "pro")
        for cookie in (ALICE, BOB, "token=other", "unknown"):
            await stage.ask("/a", ("Cookie", cookie))
        stage.gate.change("alice", ALICE, "free")
        await until_requested(stage, ALICE)
        assert await stage.tier_of(ALICE) == "free"
        assert await questions(stage, "token=other") == 1
        assert await questions(stage, BOB) == await questions(stage, "unknown") == 0


async def test_an_answer_older_than_its_change_is_not_kept(tmp_path: Path) -> None:
    """Called before the change, answered after its line (a race that would serve a stale answer for a minute)."""
    async with staged(tmp_path) as stage:
        await stage.tier_of(BOB)
        stage.gate.blocked[ALICE] = asyncio.Event()
        slow = asyncio.create_task(stage.ask("/a", ("Cookie", ALICE)))
        await until(lambda: asyncio.sleep(0, stage.gate.requests[-1].cookie == ALICE), "the question")
        stage.gate.change("alice", ALICE, "free")
        stage.gate.change("bob")
        await until_requested(stage, BOB)  # so the line before it has been read too
        stage.gate.blocked.pop(ALICE).set()
        assert (await slow).tag() == "pro"
        assert await questions(stage, ALICE) == 1
        assert await stage.tier_of(ALICE) == "free"


async def test_without_heartbeat_for_three_seconds_every_request_calls_the_gate(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.tier_of(ALICE)
        begun = stage.gate.streams_begun
        stage.gate.heartbeats_on.clear()
        silent_at = time.monotonic()
        await until_requested(stage, ALICE)
        assert 2.5 < time.monotonic() - silent_at < 4
        await until(lambda: asyncio.sleep(0, stage.gate.streams_begun > begun), "another stream")
        stage.gate.heartbeats_on.set()
        await stage.until_live()


async def test_after_a_broken_stream_every_request_calls_the_gate_until_it_is_back(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.tier_of(ALICE)
        stage.gate.streams_allowed = False
        stage.gate.cut()
        await until_requested(stage, ALICE)
        for _ in range(3):
            assert await questions(stage, ALICE) == 1
        stage.gate.number += 1  # alice's tier changes without a line on the stream
        stage.gate.sessions[ALICE] = ("alice", "free")
        stage.gate.streams_allowed = True
        await stage.until_live()
        assert await stage.tier_of(ALICE) == "free"


async def test_a_reconnected_stream_without_a_change_leaves_kept_answers(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.tier_of(ALICE)
        begun = stage.gate.streams_begun
        stage.gate.cut()
        await until(lambda: asyncio.sleep(0, stage.gate.streams_begun > begun), "a new stream")
        await stage.until_live()
        assert await questions(stage, ALICE) == 0


async def test_answers_of_another_epoch_or_other_rules_are_not_kept(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        epoch, number = stage.gate.epoch, stage.gate.number
        stage.gate.epoch, stage.gate.number = "0" * 16, 500  # an answer of the former process
        assert await questions(stage, ALICE) == await questions(stage, ALICE) == 1
        stage.gate.epoch, stage.gate.number, stage.gate.version = epoch, number, "v2"
        assert await questions(stage, ALICE) == await questions(stage, ALICE) == 1
        stage.gate.version = "v1"
        assert (await questions(stage, ALICE), await questions(stage, ALICE)) == (1, 0)


async def test_an_answer_expires_at_its_time(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.gate.fresh_for = None
        assert await questions(stage, ALICE) == await questions(stage, ALICE) == 1
        stage.gate.fresh_for = 1
        await stage.ask("/a", ("Cookie", ALICE))
        async with stopwatch() as watch:
            await until_requested(stage, ALICE)
            assert watch.seconds < 2.5
        stage.gate.fresh_for, stage.gate.never_after_in = 60, 1
        await until_requested(stage, BOB)
        async with stopwatch() as watch:
            await until_requested(stage, BOB)
            assert watch.seconds < 2.5
        stage.gate.never_after_in = 3
        await stage.ask("/a", ("Cookie", "token=carol"))
        await stage.gate.stop()
        assert (await stage.ask("/a", ("Cookie", "token=carol"))).status == 200

        async def over() -> bool:
            return (await stage.ask("/a", ("Cookie", "token=carol"))).status == 503

        await until(over, "its last instant, gate or no gate", 4)


async def test_forget_all_and_other_rules(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.tier_of(BOB, "/video/x")
        await stage.tier_of(BOB, "/a")
        assert await questions(stage, BOB, "/video/x") == 0
        stage.gate.forget_all("v1")
        await until_requested(stage, BOB)
        stage.gate.forget_all("v2", [*stage.gate.routes, route("/video/")])
        await until_requested(stage, BOB)
        assert await questions(stage, BOB, "/a") == 0
        assert await questions(stage, BOB, "/video/x") == 1  # its own class from now on


async def test_a_refusal_is_never_kept_and_drops_the_kept_answer(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        for _ in range(3):
            assert (await stage.ask("/paid/x", ("Cookie", BOB))).status == 402
        assert [question.uri for question in stage.gate.requests] == ["/paid/x"] * 3
        stage.gate.fresh_for = 1
        assert await stage.tier_of(ALICE, "/paid/x") == "pro"
        stage.gate.sessions[ALICE] = ("alice", "free")  # as after a logout elsewhere, which publishes no line
        await until(lambda: refused(stage), "her refusal")
        await stage.gate.stop()
        assert (await stage.ask("/paid/x", ("Cookie", ALICE))).status == 503


async def refused(stage: Stage) -> bool:
    return (await stage.ask("/paid/x", ("Cookie", ALICE))).status == 402


PAID = ("/paid", "/paid/", "/paid/x", "/PAID/x", "/Paid", "/paid?x=/a", "/paid//x", "/paid/./x", "/paid;x", "/%70aid",
        "/paid%2fx", "/a/../paid", "//paid", "/./paid", "/paid.", "/paid/x.", "/paid\\x", "/a/%2e%2e/paid")  # fmt: skip


async def test_no_paid_path_is_served_by_a_free_ones_answer_in_any_spelling(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        for target in PAID:
            assert await stage.tier_of(BOB) == "free"  # kept
            before = len(stage.gate.requests)
            answer = await stage.ask(target, ("Cookie", BOB))
            assert len(stage.gate.requests) == before + 1 or answer.status == 400, target
        for target in ("/.skpayments/upgrade", "/.skpayments/upgrade/?x", "/.SKPAYMENTS/upgrade"):
            assert await questions(stage, ALICE, target) == await questions(stage, ALICE, target) == 1, target
        for target in ("/b%20c", "/b;c", "/b//c"):
            first = await questions(stage, ALICE, target)
            # Traefik itself merges two slashes before the plugin runs.
            assert (first, await questions(stage, ALICE, target)) == ((1, 1) if target != "/b//c" else (1, 0)), target


async def test_methods_with_rules_and_uncommon_methods_call_the_gate(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.tier_of(ALICE)
        stage.gate.forget_all("v2", [*stage.gate.routes, route("/form/", "POST"), route("/doc/", "GET", "HEAD")])
        await until_requested(stage, ALICE)
        for target, method, cost in (
            ("/form", "GET", 0), ("/form", "POST", 1), ("/form", "POST", 0), ("/doc", "HEAD", 1),
            ("/doc", "GET", 0), ("/doc", "PUT", 0), ("/a", "OPTIONS", 1), ("/a", "OPTIONS", 1), ("/a", "PROPFIND", 1),
            ("/a", "PROPFIND", 1),
        ):  # fmt: skip
            assert await questions(stage, ALICE, target, method) == cost, (target, method)


CREDENTIALS: tuple[tuple[tuple[str, str], ...], ...] = (
    (), (("Cookie", "a"),), (("Cookie", "a; b"),), (("Cookie", "a"), ("Cookie", "b")),
    (("Cookie", "b"), ("Cookie", "a")),
    (("Cookie", "a, b"),), (("Cookie", "b"), ("Authorization", "a")), (("Cookie", "a"), ("Authorization", "b")),
    (("Authorization", "a"),), (("Authorization", "A"),), (("Authorization", "a"), ("Authorization", "a")),
    (("Cookie", "aCookie: b"),), (("Cookie", "a" * 5000),), (("Cookie", "a" * 4999 + "b"),), (("Cookie", "\xff"),),
)  # fmt: skip


async def test_no_two_credentials_share_an_answer(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        for cost in (1, 0):
            for headers in CREDENTIALS:
                before = len(stage.gate.requests)
                assert (await stage.ask("/a", *headers)).status == 200
                assert len(stage.gate.requests) - before == cost, headers
        assert await questions(stage, ALICE) == 1
        before = len(stage.gate.requests)
        await stage.ask("/a", ("Cookie", ALICE), host="BLOG.test")
        assert len(stage.gate.requests) == before + 1, "a host in another spelling"


async def test_no_more_is_kept_than_the_limit(tmp_path: Path) -> None:
    async with staged(tmp_path, maxEntries=4) as stage:
        await stage.ask("/a", ("Cookie", ALICE))
        for number in range(8):
            await stage.ask("/a", ("Cookie", f"junk={number}"))
        assert await questions(stage, ALICE) == 1
        for number in range(8):
            await stage.ask("/a", ("Cookie", f"junk={number}"))
            assert await questions(stage, ALICE) == 0, "what is in use stays"
