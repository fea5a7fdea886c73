"""The same over HTTP/2, whose header fields reach the app as lines of HTTP/1.1."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
from hostile.echo_backend import Got
from hostile.h2_client import H2Reply, ask_h2
from hostile.hostile_stage import FREE, ON_OURS, PRO, TAGS, Entry, HostileStage, cookie

pytestmark = [pytest.mark.needs_traefik, pytest.mark.asyncio(loop_scope="session")]

Fields = list[tuple[str, str]]
BOB, ALICE = ("cookie", cookie(FREE)[1]), ("cookie", cookie(PRO)[1])


def fields(path: str, more: Iterable[tuple[str, str]] = (), method: str = "GET", authority: str = "sk.test") -> Fields:
    return [(":method", method), (":scheme", "http"), (":path", path), (":authority", authority), *more]


def got(reply: H2Reply) -> Got:
    assert reply.status == 200, reply
    method, target, headers = json.loads(reply.body)
    return Got(method, target, [(name, value) for name, value in headers])


# (request, whether the naive configuration serves it, our status; 0: the stream is reset)
WAYS_IN = {
    "an encoded slash": (fields("/static%2f..%2fpro"), True, 401),
    "a backslash": (fields("/static/..\\pro"), True, 401),
    "capitals": (fields("/PRO"), True, 401),
    "two crumbs of a cookie": (fields("/pro", [ALICE, BOB]), False, 402),
    "a lie about the path": (fields("/pro", [("x-original-url", "/static")]), True, 401),
    "no preflight": (fields("/pro", method="OPTIONS"), True, 401),
    "TRACE": (fields("/", [BOB], method="TRACE"), True, 405),
    "post": (fields("/upload", [BOB], method="post"), True, 400),
    "star": (fields("*", [BOB]), True, 400),
    # These would smuggle a request in HTTP/1.1; Traefik refuses them in HTTP/2 in any configuration.
    "a line break in a value": (fields("/", [("x-a", "b\r\nx-sk-tier: max")]), False, 0),
    "a line break in a name": (fields("/", [("x-a: b\r\nx-sk-tier", "max")]), False, 0),
    "a line break in a path": (fields("/ HTTP/1.1\r\nX-SK-Tier: max\r\n\r\n"), False, 0),
    "a request in a method": (fields("/", method="GET /pro HTTP/1.1\r\nx: y"), False, 0),
    "capitals in a name": (fields("/", [("X-SK-Tier", "max")]), False, 0),
    "two authorities": ([*fields("/"), (":authority", "blog.test")], False, 0),
    "two paths": ([(":path", "/static"), *fields("/pro")], False, 0),
    "a path without a root": (fields("pro"), False, 0),
    "a fragment": (fields("/pro#/static"), False, 400),
    "Connection": (fields("/", [("connection", "x-sk-tier")]), False, 400),
    "Transfer-Encoding": (fields("/", [("transfer-encoding", "chunked")]), False, 400),
    "Upgrade": (fields("/", [("upgrade", "websocket")]), False, 400),
    "a scheme with a host": ([(":scheme", "http://blog.test/?"), *fields("/pro")[:1], *fields("/pro")[2:]], False, 0),
    "a user in the authority": (fields("/pro", authority="x@sk.test"), False, 0),
    "a pseudo field of our name": (fields("/", [(":x-sk-tier", "max")]), False, 0),
    "CONNECT": ([(":method", "CONNECT"), (":authority", "sk.test:80")], False, 501),
}  # fmt: skip


@pytest.mark.parametrize("name", WAYS_IN)
async def test_what_the_naive_configuration_serves(stage: HostileStage, name: str) -> None:
    sent, served, _ = WAYS_IN[name]
    reply = await ask_h2(stage.ports["naive", "untrusted"], sent)
    assert (reply.status == 200) == served


@pytest.mark.parametrize(("gate", "entry"), ON_OURS)
@pytest.mark.parametrize("name", WAYS_IN)
async def test_our_configuration_serves_none_of_it(stage: HostileStage, name: str, gate: str, entry: Entry) -> None:
    sent, _, status = WAYS_IN[name]
    observed = len(stage.backend.got)
    assert (await ask_h2(stage.ports[gate, entry], sent)).status == status
    assert len(stage.backend.got) == observed


@pytest.mark.parametrize(("gate", "entry"), ON_OURS)
async def test_tags_are_the_gates_alone(stage: HostileStage, gate: str, entry: Entry) -> None:
    port = stage.ports[gate, entry]
    forged = [("x_sk_tier", "max"), ("x.sk.tier", "max"), ("x-sk-tier", "max"), ("x-sk-user", "mike"), ("x~sk~a", "b")]
    for sender, tags in ([], "anonymous"), ([BOB], "bob"), ([ALICE], "alice"), ([("cookie", "a=b"), ALICE], "alice"):
        assert got(await ask_h2(port, fields("/", [*forged, *sender]))).tags == TAGS[tags]
    other = got(await ask_h2(port, fields("/", [("host", "blog.test"), *forged, ALICE])))
    assert (other.tags, other.values("Host")) == (TAGS["alice"], ["sk.test"])
    posted = got(await ask_h2(port, fields("/upload", [("content-length", "3"), ALICE], method="POST"), b"abc"))
    assert posted.tags == TAGS["alice"]


@pytest.mark.parametrize(("gate", "entry"), ON_OURS)
async def test_a_refusal_is_complete(stage: HostileStage, gate: str, entry: Entry) -> None:
    reply = await ask_h2(stage.ports[gate, entry], fields("/pro", [BOB]))
    assert (reply.status, json.loads(reply.body)["error"]) == (402, "tier_required")
    reply = await ask_h2(stage.ports[gate, entry], fields("/upload", [BOB], method="POST"), b"a body nobody reads")
    assert reply.status == 402
