"""The stream of changes, and the answers that may be kept while it is open."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop
from access.access_samples import APP, NOW, PRO, SECRETS, session, with_app
from gate.gate_stage import USER_KEYS, Stage, ask, exchange, head, raw, stage

from gateway.access.app_access import app_access
from gateway.catalog.model import Route
from gateway.gate import changes

SECRET = [("Host", "x"), next(line for line in head() if line[0] == "X-Sk-Gate")]
ASK = raw(SECRET, "/gate/changes")
PLUGIN = [("X-Sk-Plugin", "1")]


class Follower:
    """Reads the chunks of a stream as they are on the wire."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def head(self) -> str:
        async with asyncio.timeout(5):
            return (await self.reader.readuntil(b"\r\n\r\n")).decode("ascii")

    async def line(self) -> dict[str, Any]:
        """The next line; each is its own chunk."""
        async with asyncio.timeout(5):
            size = int(await self.reader.readline(), 16)
            chunk = await self.reader.readexactly(size + 2)
        assert chunk.endswith(b"\n\r\n"), chunk
        assert chunk.count(b"\n") == 2, chunk
        found = json.loads(chunk)
        assert isinstance(found, dict)
        return found

    async def change(self) -> dict[str, Any]:
        """The next line that is not a heartbeat."""
        while len(line := await self.line()) == 2:
            pass
        return line


@asynccontextmanager
async def following(on: Stage) -> AsyncIterator[tuple[Follower, dict[str, Any]]]:
    """A consumer of the stream, and its first line."""
    follower = Follower(*await asyncio.open_connection("127.0.0.1", on.port))
    try:
        follower.writer.write(ASK)
        assert (await follower.head()).startswith("HTTP/1.1 200 OK\r\n")
        yield follower, await follower.line()
    finally:
        follower.writer.close()


def streams(on: Stage) -> float:
    return on.gate.registry.gauge("skpay_gate_streams", "").of().value


def keep(answer: Any) -> tuple[str, int, str, int, str, int, int]:
    epoch, number, process, own, version, fresh_until, never_after = answer.header("X-SK-Keep").split(" ")
    return epoch, int(number), process, int(own), version, int(fresh_until), int(never_after)


async def until_streams(on: Stage, count: int) -> None:
    async with asyncio.timeout(10):
        while streams(on) != count:  # noqa: ASYNC110  # a gauge, not an event
            await asyncio.sleep(0.005)


async def test_the_stream_as_bytes() -> None:
    async with stage(with_app(routes=(Route("/PRO", min_tier="pro", methods=("GET",)),))) as on:
        on.gate.changes.begin("e1", 7)
        async with following(on) as (_, first):
            pass
        reader, writer = await asyncio.open_connection("127.0.0.1", on.port)
        writer.write(ASK)
        body = (
            b'{"epoch":"e1","process":"' + first["process"].encode() + b'","n":7,"own":1,"rules":{"skai":{"routes":['
            b'{"path":"/PRO/","folded":"/pro/","methods":["GET","HEAD"]},'
            b'{"path":"/.skpayments/","folded":"/.skpayments/","methods":[]},'
            b'{"path":"/","folded":"/","methods":["CONNECT","TRACE","TRACK"]}'
            b']}},"version":"' + first["version"].encode() + b'"}\n'
        )
        expected = (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/jsonl\r\nTransfer-Encoding: chunked\r\n"
            b"Cache-Control: no-store\r\nCloudflare-CDN-Cache-Control: no-store\r\n\r\n"
            b"%x\r\n%b\r\n" % (len(body), body)
        )
        assert await asyncio.wait_for(reader.readexactly(len(expected)), 5) == expected
        writer.close()


async def test_every_change_is_a_numbered_line_that_names_the_user_as_the_tag_does() -> None:
    async with stage() as on:
        on.gate.changes.begin("e1", 7)
        async with following(on) as (follower, first):
            assert (first["epoch"], first["n"], first["own"], len(first["process"])) == ("e1", 7, 1, 16)
            on.gate.changes.follow(9, [(8, "skai", "alice"), (9, "skai", "")])
            on.gate.changes.user_changed("skai", "zoë 100%")
            on.gate.changes.follow(10, [(10, "skai", "bob")])
            assert await follower.change() == {"n": 8, "own": 1, "app": "skai", "user": "alice"}
            assert await follower.change() == {"n": 9, "own": 1, "app": "skai", "user": ""}
            assert await follower.change() == {"n": 9, "own": 2, "app": "skai", "user": "zo%C3%AB%20100%25"}
            assert await follower.change() == {"n": 10, "own": 2, "app": "skai", "user": "bob"}
            total = on.gate.registry.counter("skpay_gate_changes_total", "").of().value
            assert total == 5  # the first install is one


async def test_a_heartbeat_each_tick_has_the_numbers() -> None:
    async with stage(tick_seconds=0.02) as on, following(on) as (follower, _):
        assert [await follower.line() for _ in range(3)] == [{"n": 0, "own": 1}] * 3
        on.gate.changes.user_changed("skai", "alice")
        await follower.change()
        assert await follower.line() == {"n": 0, "own": 2}


async def test_a_load_of_everything_forgets_all_and_another_epoch_ends_the_streams() -> None:
    async with stage() as on:
        on.gate.changes.begin("e1", 7)
        async with following(on) as (follower, _):
            on.gate.changes.begin("e1", 12)
            line = await follower.change()
            assert (line["n"], line["own"], line["all"]) == (12, 2, True)
            on.gate.changes.begin("e2", 3)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError, ValueError)):
                await follower.line()
            assert streams(on) == 0
        async with following(on) as (_, first):
            assert (first["epoch"], first["n"]) == ("e2", 3)
            on.gate.changes.begin("", 3)  # the database's epoch is unknown
        async with following(on) as (_, first):
            assert first["epoch"] == first["process"]


async def test_a_reload_forgets_all_and_brings_the_new_rules() -> None:
    async with stage() as on, following(on) as (follower, first):
        other = with_app(routes=(Route("/new", min_tier="pro"),))
        on.gate.install({"skai": app_access(other, SECRETS, USER_KEYS)})
        line = await follower.change()
        assert (line["n"], line["own"], line["all"]) == (0, 2, True)
        assert [rule["path"] for rule in line["rules"]["skai"]["routes"]] == ["/new/", "/.skpayments/", "/"]
        assert line["version"] != first["version"]


async def test_changed_keys_are_published_by_the_log_only() -> None:
    async with stage() as on, following(on) as (follower, _):
        on.gate.install({"skai": app_access(APP, SECRETS, {})}, only_keys=True)
        on.gate.changes.user_changed("skai", "marker")
        assert (await follower.change())["user"] == "marker"


async def test_each_process_names_itself_and_has_the_same_version_as_others_with_the_same_configuration() -> None:
    async with stage() as one, stage() as other, following(one) as (_, first), following(other) as (_, second):
        assert first["process"] != second["process"]
        assert first["version"] == second["version"]
        other.gate.changes.all_changed({"skai": app_access(APP, SECRETS, USER_KEYS)}, "another secret")
        async with following(other) as (_, third):
            assert (third["rules"], third["version"] == first["version"]) == (first["rules"], False)


# answers that may be kept


async def test_an_answer_says_how_long_it_may_be_kept() -> None:
    async with stage() as on, following(on) as (_, first):
        answer = await ask(on.port, user="alice", more=PLUGIN)
        assert answer.tags == ("skai", "alice", "pro", "images")
        # The sample's token is valid for a day, and verified again after an hour.
        assert keep(answer) == (
            first["epoch"], 0, first["process"], 1, first["version"], NOW + 60, NOW + 3600,
        )  # fmt: skip
        on.gate.changes.user_changed("skai", "bob")
        on.gate.changes.follow(5, [(5, "skai", "bob")])
        assert keep(await ask(on.port, user="alice", more=PLUGIN))[1:4] == (5, first["process"], 2)
        assert keep(await ask(on.port, more=PLUGIN))[5:] == (NOW + 60, 0)


async def test_an_answer_is_kept_no_longer_than_its_credential() -> None:
    async with stage() as on:
        cookie = [("Cookie", f"token={session('alice', NOW + 7).decode()}")]
        answer = await ask(on.port, more=[*PLUGIN, *cookie])
        assert keep(answer)[5:] == (NOW + 37, NOW + 37)  # with the skew that the gate itself allows


BEARER = ("Authorization", "Bearer not-a-token")
PREFLIGHT = [("Origin", "https://other.example"), ("Access-Control-Request-Method", "GET")]


async def test_an_answer_from_the_request_cache_may_be_kept_too() -> None:
    """The second request is answered from the request cache; a logout elsewhere still applies to the next request."""
    async with stage() as on:
        data = raw(head(user="alice", more=PLUGIN))
        (first, second) = [(await exchange(on.port, data))[0] for _ in range(2)]
        assert len(on.gate.request_cache) == 2
        assert keep(first) == keep(second)
        on.gate.credential_changed("skai", "bob")
        assert len(on.gate.request_cache) == 2
        on.gate.credential_changed("skai", "alice")
        assert len(on.gate.request_cache) == 1
        (third,) = await exchange(on.port, data)
        assert keep(third)[3] == keep(first)[3] + 2


@pytest.mark.parametrize(
    ("what", "changes_", "status"),
    [
        ("nobody asked", {"user": "alice"}, 200),
        ("a refusal", {"user": "bob", "uri": "/pro", "more": PLUGIN}, 402),
        ("a refused method", {"user": "alice", "method": "TRACE", "more": PLUGIN}, 405),
        ("a path with two readings", {"user": "alice", "uri": "/%61", "more": PLUGIN}, 200),
        ("below the upgrade link", {"user": "alice", "uri": "/.skpayments/upgrade/x", "more": PLUGIN}, 200),
        ("public to a credential that does not verify", {"uri": "/static/x", "more": [*PLUGIN, BEARER]}, 200),
        ("a preflight", {"uri": "/pro", "method": "OPTIONS", "more": [*PLUGIN, *PREFLIGHT]}, 200),
    ],
)
async def test_which_answers_are_not_kept(what: str, changes_: dict[str, Any], status: int) -> None:
    async with stage() as on:
        answer = await ask(on.port, **changes_)
        assert (answer.status, answer.header("X-SK-Keep")) == (status, None), what


async def test_an_answer_is_kept_no_longer_than_its_assertion_is_valid() -> None:
    async with stage(with_app(assertion=True)) as on:
        for later, fresh_until in ((0, NOW + 30), (29, NOW + 30), (35, NOW + 30), (36, NOW + 65)):
            on.now = NOW + later
            answer = await ask(on.port, user="alice", more=PLUGIN)
            assert answer.header("X-SK-Assertion")
            assert keep(answer)[5:] == (fresh_until, fresh_until + 30), later


async def test_a_refusal_that_is_not_enforced_is_never_kept() -> None:
    async with stage(with_app(enforce=False)) as on:
        for _ in range(2):
            answer = await ask(on.port, user="bob", uri="/pro", more=PLUGIN)
            assert (answer.status, answer.header("X-SK-Keep")) == (200, None)
        assert on.count("skai", "free", "would_tier_required") == 2


# the connection


async def test_the_stream_is_for_traefik_only() -> None:
    async with stage() as on:
        assert (await ask(on.port, "/gate/changes", secret=None)).status == 403
        (answer,) = await exchange(on.port, raw(SECRET, "/gate/changes", "POST"))
        assert answer.status == 405
    async with stage(ready=False) as on:
        assert (await ask(on.port, "/gate/changes")).status == 503


async def test_a_stream_after_other_requests_on_one_connection_comes_last() -> None:
    """Requests behind it are dropped, since its answer never ends."""
    async with stage(tick_seconds=0.05) as on:
        for pieces in ([raw(head(user="alice")) + ASK + raw(head())], [raw(head(user="alice")), ASK, raw(head())]):
            reader, writer = await asyncio.open_connection("127.0.0.1", on.port)
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0)
            follower = Follower(reader, writer)
            assert "X-SK-User: alice" in await follower.head()
            assert "jsonl" in await follower.head()
            assert "epoch" in await follower.line()
            assert await follower.line() == {"n": 0, "own": 1}
            writer.close()


async def test_no_more_than_64_streams() -> None:
    async with stage(max_connections=100) as on:
        open_ = [following(on) for _ in range(changes.MAX_STREAMS)]
        for each in open_:
            await each.__aenter__()
        assert streams(on) == 64
        answer = await ask(on.port, "/gate/changes")
        assert (answer.status, answer.header("Retry-After")) == (503, "5")
        assert (await ask(on.port)).status == 200
        for each in open_:
            await each.__aexit__(None, None, None)
        await until_streams(on, 0)
        async with following(on):
            assert streams(on) == 1


async def test_a_slow_consumer_is_disconnected_and_the_others_lose_nothing() -> None:
    async with stage(tick_seconds=60) as on, following(on) as (follower, _):
        slow = socket.create_connection(("127.0.0.1", on.port))
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(ASK)
        await until_streams(on, 2)
        number, name = 1, "u" * 190
        async with asyncio.timeout(20):
            while streams(on) == 2:
                for _ in range(200):
                    on.gate.changes.user_changed("skai", name)
                for _ in range(200):
                    number += 1
                    assert await follower.change() == {"n": 0, "own": number, "app": "skai", "user": name}
        assert number * 200 > changes.MAX_UNSENT_BYTES
        slow.close()


async def test_rules_larger_than_the_write_buffer_disconnect_no_consumer() -> None:
    long = "x" * 450
    routes = tuple(Route(f"/{number}{long}", min_tier="pro") for number in range(9000))
    async with stage(with_app(routes=routes)) as on, following(on) as (follower, first):
        assert len(json.dumps(first)) > 8 * changes.MAX_UNSENT_BYTES
        on.gate.changes.all_changed()
        assert (await follower.change())["rules"] == first["rules"]
        on.gate.changes.user_changed("skai", "alice")
        assert (await follower.change())["user"] == "alice"


async def test_a_consumer_without_progress_is_disconnected() -> None:
    async with stage(tick_seconds=0.02) as on:
        slow = socket.create_connection(("127.0.0.1", on.port))
        slow.sendall(ASK)
        await until_streams(on, 1)
        (stream,) = on.gate.changes._streams
        transport = stream._transport
        assert transport is not None
        async with asyncio.timeout(10):
            while transport.get_write_buffer_size() == 0 and streams(on):
                on.gate.changes.user_changed("skai", "u" * 190)
                await asyncio.sleep(0)
        assert transport.get_write_buffer_size() < changes.MAX_UNSENT_BYTES
        await until_streams(on, 0)
        slow.close()


async def test_a_stream_outlives_the_idle_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.gate.listener.IDLE_SECONDS", 2)
    async with stage(tick_seconds=0.01) as on, following(on) as (follower, _):
        for _ in range(10):
            assert await follower.line() == {"n": 0, "own": 1}


async def test_the_stream_ends_when_the_gate_is_closed() -> None:
    async with stage() as on, following(on) as (follower, _):
        await on.listener.close(1)
        assert await asyncio.wait_for(follower.reader.read(), 5) == b"0\r\n\r\n"
        assert streams(on) == 0


async def test_tiers_with_the_same_rules_have_the_same_version() -> None:
    """A new price or feature changes answers, hence `forget all`, but no class."""
    async with stage() as on, following(on) as (follower, first):
        tiers = tuple(PRO if tier is PRO else tier for tier in APP.tiers)
        on.gate.install({"skai": app_access(with_app(tiers=tiers, name="New"), SECRETS, USER_KEYS)})
        line = await follower.change()
        assert (line["all"], line["version"]) == (True, first["version"])


@pytest.mark.parametrize(
    "test",
    [
        test_the_stream_as_bytes,
        test_a_slow_consumer_is_disconnected_and_the_others_lose_nothing,
        test_a_consumer_without_progress_is_disconnected,
        test_the_stream_ends_when_the_gate_is_closed,
    ],
)
def test_it_is_the_same_on_uvloop(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """uvloop buffers differently, and production uses it."""
    uvloop.run(test())
