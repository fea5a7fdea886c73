"""Where one request ends and the next begins: smuggling, upgrades, bodies, conditions, sizes, and one user's tags on
another's request."""

from __future__ import annotations

import asyncio
import json
import random

import pytest
from hostile.hostile_stage import FREE, MAX, ON_OURS, PRO, TAGS, Entry, HostileStage, cookie, token
from hostile.raw_client import Reply, ask, connected, request, send
from servers.traefik import until

pytestmark = [pytest.mark.needs_traefik, pytest.mark.asyncio(loop_scope="session")]

BOB, ALICE = cookie(FREE), cookie(PRO)
CHUNKED = ("Transfer-Encoding", "chunked")
# Sent without a paying credential, inside or right behind another request.
SMUGGLED = request("/pro", [("X-Smuggled", "1")])

# Each with the statuses of the two answers; 0: none, because the connection is closed.
SMUGGLING = {
    "chunked over a length": (
        request("/", [CHUNKED, ("Content-Length", "5")], method="POST") + b"0\r\n\r\n", [200, 401]),
    "an underscore for a dash": (
        request("/", [("Transfer_Encoding", "chunked"), ("Content-Length", "5")], method="POST") + b"0\r\n\r\n",
        [200, 401]),
    "an unknown coding": (request("/", [("Transfer-Encoding", "xchunked")], method="POST") + b"0\r\n\r\n", [501]),
    "two codings": (request("/", [("Transfer-Encoding", "chunked, identity")], method="POST") + b"0\r\n\r\n", [501]),
    "a coding twice": (request("/", [CHUNKED, CHUNKED], method="POST") + b"0\r\n\r\n", [501]),
    "a space before the colon": (
        request("/", [("Transfer-Encoding ", "chunked"), ("Content-Length", "5")], method="POST") + b"0\r\n\r\n",
        [400]),
    "two lengths": (request("/", [("Content-Length", "5"), ("Content-Length", "0")], method="POST") + b"hello", [400]),
    "two lengths that agree": (
        request("/", [("Content-Length", "5"), ("Content-Length", "5")], method="POST") + b"hello", [200, 401]),
    "a signed length": (request("/", [("Content-Length", "+5")], method="POST") + b"hello", [400]),
    "a list of lengths": (request("/", [("Content-Length", "5, 5")], method="POST") + b"hello", [400]),
    "a chunk's size with a prefix": (request("/", [CHUNKED], method="POST") + b"0x5\r\nhello\r\n0\r\n\r\n", [500]),
    "a line feed in a chunk's extension": (
        request("/", [CHUNKED], method="POST") + b"5;a=\n\r\nhello\r\n0\r\n\r\n", [500]),
    "h2c": (
        request("/", [("Upgrade", "h2c"), ("Connection", "Upgrade, HTTP2-Settings"), ("HTTP2-Settings", "AAMAAABk")]),
        [200, 401]),
    "a folded header": (b"GET / HTTP/1.1\r\nHost: sk.test\r\nX-A: b\r\n X-SK-Tier: max\r\n\r\n", [200, 401]),
    "a bare line feed": (b"GET / HTTP/1.1\nHost: sk.test\nX_SK_Tier: max\n\n", [200, 401]),
    "a bare return": (b"GET / HTTP/1.1\r\nHost: sk.test\r\nX-A: a\rX-SK-Tier: max\r\n\r\n", [400]),
    "a null byte": (b"GET / HTTP/1.1\r\nHost: sk.test\r\nX-A: a\x00b\r\n\r\n", [400]),
    "a space in our name": (b"GET / HTTP/1.1\r\nHost: sk.test\r\nX-SK-Tier : max\r\n\r\n", [400]),
    "an empty line first": (b"\r\n\r\nGET / HTTP/1.1\r\nHost: sk.test\r\n\r\n", [400]),
    "a request in a body": (request("/", method="POST", body=SMUGGLED), [200, 401]),
    "a request in the body of a GET": (request("/", body=SMUGGLED), [200, 401]),
    "a request in a refused body": (request("/pro", method="POST", body=SMUGGLED), [401, 401]),
}  # fmt: skip


@pytest.mark.parametrize(("gate", "entry"), ON_OURS)
@pytest.mark.parametrize("name", SMUGGLING)
async def test_no_second_request_hides_in_a_first(stage: HostileStage, name: str, gate: str, entry: Entry) -> None:
    """Traefik closes these connections; the app gets at most the first request, with anonymous tags."""
    raw, statuses = SMUGGLING[name]
    observed = len(stage.backend.got)
    replies = await send(stage.ports[gate, entry], raw + SMUGGLED, answers=len(statuses))
    assert [reply.status for reply in replies] == statuses
    reached = stage.backend.got[observed:]
    assert all(got.tags == TAGS["anonymous"] and not got.values("X-Smuggled") for got in reached)
    assert {got.target for got in reached} <= {"/"}
    assert stage.backend.problems == []


async def test_the_app_of_these_tests_would_see_a_smuggled_request(stage: HostileStage) -> None:
    """The test above relies on this."""
    observed = len(stage.backend.got)
    both = request("/", [("Content-Length", "0")], method="POST") + SMUGGLED
    assert [reply.status for reply in await send(stage.backend.port, both, answers=2)] == [200, 200]
    assert stage.backend.got[observed + 1].values("X-Smuggled") == ["1"]
    await send(stage.backend.port, request("/", [CHUNKED, ("Content-Length", "5")], method="POST"))
    await send(stage.backend.port, b"no request\r\n\r\n")
    assert [problem.partition(":")[0] for problem in stage.backend.problems] == [
        "framed twice, or not one Host", "no request",
    ]  # fmt: skip
    stage.backend.problems.clear()


@pytest.mark.parametrize(("gate", "entry"), ON_OURS)
async def test_trailers_are_not_read_as_headers(stage: HostileStage, gate: str, entry: Entry) -> None:
    names = [("Trailer", "X-SK-Tier, X_SK_Tier, Cookie, X-Forwarded-Uri"), CHUNKED, BOB]
    trailers = b"".join(b"%s: max\r\n" % name for name in (b"X-SK-Tier", b"X_SK_Tier", b"Cookie", b"X-Forwarded-Uri"))
    raw = request("/", names, method="POST") + b"3\r\nabc\r\n0\r\n" + trailers + b"\r\n"
    reply = await stage.ask(gate, entry, raw)
    assert reply.got is not None
    assert reply.got.tags == TAGS["bob"]
    assert reply.got.values("Cookie") == [BOB[1]]
    assert reply.got.values("Trailer-Field") == []


def _web_socket(target: str, *more: tuple[str, str]) -> bytes:
    handshake = [
        ("Connection", "Upgrade, X-SK-Tier, X-SK-User"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), ("X_SK_Tier", "max"), ("X.SK.User", "mike"), *more,
    ]  # fmt: skip
    return request(target, handshake)


@pytest.mark.parametrize(("gate", "entry"), ON_OURS)
async def test_a_websocket_is_refused_or_tagged_like_any_request(stage: HostileStage, gate: str, entry: Entry) -> None:
    refused = await stage.ask(gate, entry, _web_socket("/pro/socket", BOB))
    assert (refused.status, refused.json()["error"]) == (402, "tier_required")
    assert (await stage.ask(gate, entry, _web_socket("/pro/socket"))).status == 401
    async with connected(stage.ports[gate, entry]) as (reader, writer):
        writer.write(_web_socket("/pro/socket", ALICE))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        await reader.readline()
        assert stage.backend.got[-1].tags == TAGS["alice"]
        # From here on it is a tunnel: a request inside it reaches no HTTP server.
        writer.write(SMUGGLED)
        assert await reader.readexactly(len(SMUGGLED)) == SMUGGLED
    assert not stage.backend.got[-1].values("X-Smuggled")


@pytest.mark.parametrize(("gate", "entry"), ON_OURS)
async def test_t38_an_open_websocket_outlives_a_downgrade_and_the_next_one_is_refused(
    stage: HostileStage, gate: str, entry: Entry
) -> None:
    """As documented for apps: Traefik authenticates the handshake only."""
    walt, grants = cookie("walt"), "/admin/grants"
    grant = {"app_id": "skai", "user_id": "walt", "tier": "pro", "reason": "for an hour"}
    assert (await stage.running.admin("POST", grants, grant))[0] == 201

    async def answered(status: int) -> bool:
        return (await stage.ask(gate, entry, request("/pro", [walt]))).status == status

    await until(lambda: answered(200), "walt is on pro")
    async with connected(stage.ports[gate, entry]) as (reader, writer):
        writer.write(_web_socket("/pro/socket", walt))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        await reader.readline()
        assert (await stage.running.admin("DELETE", f"{grants}/skai/walt"))[0] == 200
        await until(lambda: answered(402), "walt is on free")
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here"
        assert (await stage.ask(gate, entry, _web_socket("/pro/socket", walt))).status == 402


async def test_the_naive_configuration_lets_a_forged_websocket_in(stage: HostileStage) -> None:
    assert (await stage.ask("naive", "untrusted", _web_socket("/", BOB))).status == 101
    assert stage.backend.got[-1].tags["x_sk_tier"] == "max"


@pytest.mark.parametrize(("gate", "entry"), ON_OURS)
async def test_the_gate_ignores_conditions_and_ranges(stage: HostileStage, gate: str, entry: Entry) -> None:
    """A gate that honoured them would answer 304 or 206, which Traefik refuses and a cache may store."""
    conditions = [
        ("Range", "bytes=0-1"), ("If-None-Match", "*"), ("If-Match", '"x"'), ("If-Range", '"x"'),
        ("If-Modified-Since", "Tue, 01 Jan 2030 00:00:00 GMT"),
        ("If-Unmodified-Since", "Tue, 01 Jan 1980 00:00:00 GMT"),
    ]  # fmt: skip
    for method in ("GET", "HEAD"):
        refused = await stage.ask(gate, entry, request("/pro", [*conditions, BOB], method=method))
        assert (refused.status, refused.header("Cache-Control")) == (402, "no-store")
        assert refused.header("Content-Range") is None
    reply = await stage.ask(gate, entry, request("/pro", [*conditions, ALICE]))
    assert reply.got is not None
    assert reply.got.tags == TAGS["alice"]
    assert all(reply.got.values(name) == [value] for name, value in conditions)


@pytest.mark.parametrize(("gate", "entry"), ON_OURS)
async def test_a_refused_upload_is_refused_before_it_is_sent(stage: HostileStage, gate: str, entry: Entry) -> None:
    expect = [("Expect", "100-continue"), ("Content-Length", "1000000")]
    (reply,) = await send(stage.ports[gate, entry], request("/upload", [*expect, BOB], method="POST"))
    assert reply.status == 402
    reply = await ask(
        stage.ports[gate, entry], request("/upload", [expect[0], ALICE], method="POST", body=b"x" * 100_000)
    )
    assert reply.got is not None
    assert (reply.got.tags, len(stage.backend.got[-1].body)) == (TAGS["alice"], 100_000)


@pytest.mark.parametrize(("gate", "entry"), ON_OURS)
async def test_head_is_refused_like_get_and_keeps_the_connection_in_step(
    stage: HostileStage, gate: str, entry: Entry
) -> None:
    for sender, status in (([], 401), ([BOB], 402)):
        raw = request("/pro", sender, method="HEAD")
        async with connected(stage.ports[gate, entry]) as (reader, writer):
            for _ in range(3):
                writer.write(raw)
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(f"HTTP/1.1 {status} ".encode())


# (what is sent by alice, what may come back): never a 200 with another user's tags, nor a hang.
BIG = {
    "a cookie of 30 kB": (request("/pro", [("Cookie", f"a={'x' * 30_000}; token={token(PRO)}")]), {200}),
    "a cookie of 70 kB": (request("/pro", [("Cookie", f"token={token(PRO)}; a={'x' * 70_000}")]), {431}),
    "a token of 20 kB": (request("/pro", [("Cookie", f"token={token(PRO)}{'x' * 20_000}")]), {401}),
    "a Bearer of 70 kB": (request("/pro", [ALICE, ("Authorization", f"Bearer {'x' * 70_000}")]), {431}),
    "a path of 15 kB": (request(f"/pro/{'x' * 15_000}", [ALICE]), {200}),
    # Too long to be read in every way, so it may be the path of a feature that alice lacks.
    "a path of 20 kB": (request(f"/pro/{'x' * 20_000}", [ALICE]), {402}),
    "a path of 20 kB, all escapes": (request(f"/pro/{'%2f' * 7_000}", [ALICE]), {402}),
    "a path of 70 kB": (request(f"/pro/{'x' * 70_000}", [ALICE]), {431}),
    # The plugin may have a kept answer, and then these two are not read.
    "a query of 70 kB": (request(f"/pro?{'x' * 70_000}", [ALICE]), {431, 200}),
    "a header of 100 kB that is not ours": (request("/pro", [("X-Big", "x" * 100_000), ALICE]), {200}),
    "a tag of 100 kB": (request("/pro", [("X-SK-Tier", "x" * 100_000), ("X_SK_User", "x" * 100_000), ALICE]), {200}),
    "a host of 70 kB": (request("/pro", [ALICE], host="x" * 70_000), {404}),
    "300 headers": (request("/pro", [*((f"X-{number}", "x") for number in range(300)), ALICE]), {200}),
    "300 cookies": (request("/pro", [*(("Cookie", f"a{number}=x") for number in range(300)), ALICE]), {431}),
    "300 Origins": (request("/pro", [*[("Origin", "x")] * 300, ALICE]), {431, 200}),
    "2 MB of headers": (request("/pro", [("X-Big", "x" * 2_000_000), ALICE]), {431}),
    "a method of 40 letters": (request("/pro", [ALICE], method="A" * 40), {400}),
}  # fmt: skip


@pytest.mark.parametrize(("gate", "entry"), ON_OURS)
@pytest.mark.parametrize("name", BIG)
async def test_a_large_request_is_refused_or_served_to_its_own_user(
    stage: HostileStage, name: str, gate: str, entry: Entry
) -> None:
    raw, statuses = BIG[name]
    reply = await stage.ask(gate, entry, raw)
    assert reply.status in statuses
    if reply.status == 200:
        assert reply.got is not None
        assert reply.got.tags == TAGS["alice"]


PEOPLE = {"anonymous": [], "bob": [BOB], "alice": [ALICE], "mike": [cookie(MAX)]}


def _as(person: str, number: int) -> bytes:
    """A request of this user, with the tags of every other user forged into it."""
    forged = [("X-SK-User", "mike"), ("X_SK_User", "alice"), ("X.SK.Tier", "max"), ("X-Number", str(number))]
    return request(f"/{number}", [*forged, *PEOPLE[person]])


def _is(reply: Reply, person: str, number: int) -> bool:
    got = reply.got
    return got is not None and got.target == f"/{number}" and got.tags == TAGS[person]


@pytest.mark.parametrize(("gate", "entry"), ON_OURS)
async def test_pipelined_users_keep_their_own_tags(stage: HostileStage, gate: str, entry: Entry) -> None:
    people = [*PEOPLE, *reversed(PEOPLE), "bob", "alice", "bob", "anonymous", "alice", "anonymous"] * 4
    stream = b"".join(_as(person, number) for number, person in enumerate(people))
    replies = await send(stage.ports[gate, entry], stream, answers=len(people))
    assert len(replies) == len(people)
    assert [n for n, (reply, person) in enumerate(zip(replies, people, strict=True)) if not _is(reply, person, n)] == []


@pytest.mark.parametrize(("gate", "entry"), ON_OURS)
async def test_concurrent_users_keep_their_own_tags(stage: HostileStage, gate: str, entry: Entry) -> None:
    """On separate connections, which Traefik multiplexes over a few to the gate and to the app."""
    chance = random.Random(7)  # noqa: S311  # which person comes when

    async def visitor(number: int) -> list[str]:
        wrong = []
        for turn in range(12):
            person = chance.choice([*PEOPLE])
            reply = await stage.ask(gate, entry, _as(person, 100 * number + turn))
            if not _is(reply, person, 100 * number + turn):
                wrong.append(f"{person}: {reply.status} {json.dumps(reply.got and reply.got.tags)}")
        return wrong

    assert [wrong for wrong in await asyncio.gather(*(visitor(number) for number in range(24))) if wrong] == []
