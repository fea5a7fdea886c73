"""What the plugin passes to the gate, the app and the client byte for byte, with and without a kept answer."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from hostile.h2_client import ask_h2
from plugin_stage import ALICE, exchange, read, staged
from servers.traefik import until

pytestmark = pytest.mark.needs_traefik
BOB = "token=bob"
# Spellings that real backends read as X-SK-Tier, written by hand.
FORGED = (
    "X-SK-Tier", "x-sk-tier", "X-Sk-Tier", "X_SK_Tier", "X-SK_Tier", "X_SK-Tier", "X-SK-Tier_", "X.SK.Tier",
    "X!SK!Tier", "X~SK~Tier", "X#SK#Tier", "X$SK$Tier", "X%SK%Tier", "X&SK&Tier", "X'SK'Tier", "X*SK*Tier",
    "X+SK+Tier", "X^SK^Tier", "X`SK`Tier", "X|SK|Tier", "XSK-Tier", "X--SK--Tier", "X-SK-User", "X_SK_User",
    "X-SK-Features", "X-SK-App", "X-SK-Anything", "X_SK_Gate", "X-SK-Gate", "X-SK-Plugin", "X-SK-Keep",
    "X-SK-Assertion",
)  # fmt: skip
KEPT = ("X-Skate", "X-Sky-Net", "api_key", "access_token", "X-Task")
OURS = re.compile(r"(?i)^x[^a-z0-9]*sk[^a-z0-9]")
TAGS = [("x-sk-app", "blog"), ("x-sk-features", ""), ("x-sk-tier", "pro"), ("x-sk-user", "alice")]


def ours(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted((name.lower(), value) for name, value in headers if OURS.match(name))


async def test_no_forged_header_reaches_app_or_gate_in_any_spelling(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        forged = [(name, "forged") for name in FORGED] + [(name, "mine") for name in KEPT]
        tricks = (
            [], forged, *([(name, "forged")] for name in FORGED), [("Connection", "x-sk-tier, X-SK-User"), *forged],
        )  # fmt: skip
        for extra in (*tricks, *tricks):  # the second time, the answer is kept
            answer = await stage.ask("/read", ("Cookie", ALICE), *extra)
            assert ours(answer.at_app) == TAGS, extra
            for name in KEPT if len(extra) > 1 else ():
                assert (name.lower(), "mine") in [(key.lower(), value) for key, value in answer.at_app], name
        for question in stage.gate.requests:
            assert ours(question.headers) == [("x-sk-gate", stage.gate.secret), ("x-sk-plugin", "1")]
            assert "forged" not in str(question.headers)
        assert ours((await stage.ask("/read", *forged)).at_app) == [
            ("x-sk-app", "blog"),
            ("x-sk-features", ""),
            ("x-sk-tier", "free"),
        ]
        assert stage.gate.secret not in str((await stage.ask("/read")).at_app)


async def test_no_forged_trailer_is_announced_to_the_app(tmp_path: Path) -> None:
    observed: list[bytes] = []

    async def backend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        observed.append(await reader.readuntil(b"0\r\n"))
        await asyncio.sleep(0.05)  # trailers arrive in the same packet
        observed[-1] += reader._buffer  # type: ignore[attr-defined]  # without waiting for an end that may not come
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        writer.close()

    async with staged(tmp_path) as stage:
        server = await asyncio.start_server(backend, "127.0.0.1", 0)
        async with server:
            stage.app_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            stage.configure("blog")
            head = f"POST /read HTTP/1.1\r\nHost: blog.test\r\nCookie: {ALICE}\r\nConnection: close\r\n"
            body = "Trailer: X-SK-Tier, X_SK_User, X-Other\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"
            request = f"{head}{body}X-SK-Tier: forged\r\nX_SK_User: forged\r\nX-SK-App: forged\r\nX-Other: o\r\n\r\n"

            async def through() -> bool:
                await exchange(stage.traefik.url, request.encode())
                return len(observed) >= 2  # once from the gate, once kept

            await until(through, "two requests at the other app")
        for raw in observed:
            assert b"Trailer: X-Other" in raw
            assert b"forged" not in raw
            assert re.search(rb"(?i)trailer:[^\r]*sk", raw) is None


async def test_the_headers_for_the_gate_come_from_the_connection(tmp_path: Path) -> None:
    """Even behind a peer whose X-Forwarded headers Traefik trusts."""
    lies = (
        ("X-Forwarded-Uri", "/lie"), ("X-Forwarded-Method", "OPTIONS"), ("X-Forwarded-Host", "lie.test"),
        ("X-Forwarded-Proto", "lie"), ("X-Forwarded-For", "9.9.9.9"), ("X-Real-Ip", "9.9.9.9"), ("X-Secret", "s"),
        ("X-Api-Key", "not listed"), ("Range", "bytes=0-1"), ("If-None-Match", "*"), ("Proxy-Authorization", "Basic x"),
        ("TE", "trailers"), ("Keep-Alive", "5"),
    )  # fmt: skip
    read_by_gate = (
        ("Cookie", ALICE), ("Cookie", "again"), ("Authorization", "Bearer t"), ("Accept", "text/html"),
        ("Origin", "https://o.test"), ("Sec-Fetch-Mode", "cors"), ("Access-Control-Request-Method", "PUT"),
    )  # fmt: skip
    trusted = {"entryPoints": {"web": {"forwardedHeaders": {"trustedIPs": ["127.0.0.1/32"]}}}}
    async with staged(tmp_path, static=trusted) as stage:
        for extra in (lies, ()):
            await stage.ask("/truth?x=%41/../", *read_by_gate, *extra, method="PUT", host="BLOG.test:80")
            question = stage.gate.requests[-1]
            assert question.target == "/gate?app=blog"
            got = [(name, value) for name, value in question.headers if name not in ("Host", "User-Agent")]
            assert sorted(got) == sorted(
                [
                    *read_by_gate, ("X-Forwarded-Method", "PUT"), ("X-Forwarded-Host", "BLOG.test:80"),
                    ("X-Forwarded-Uri", "/truth?x=%41/../"), ("X-Forwarded-Proto", "http"),
                    ("X-Forwarded-For", "127.0.0.1"), ("X-Sk-Gate", stage.gate.secret), ("X-Sk-Plugin", "1"),
                ]
            )  # fmt: skip


def to_a_page() -> web.Response:
    headers = [
        ("Location", "/buy?t=a%20b"), ("Set-Cookie", "token=; Max-Age=0"), ("Set-Cookie", "b=2"), ("X-SK-Tier", "free"),
        ("Link", "<x>; rel=y"), ("Retry-After", "7"), ("X-SK-Keep", "a 1 v1 9999999999 0"),
    ]  # fmt: skip
    return web.Response(status=303, text="see there", headers=headers)


def too_long() -> web.Response:
    return web.Response(status=402, body=b"x" * 65_537)


def just_right() -> web.Response:
    return web.Response(status=402, body=b"x" * 65_536)


async def test_a_refusal_reaches_the_client_as_the_gate_made_it(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.gate.refusal = to_a_page
        for method, body in (("GET", b"see there"), ("POST", b"see there"), ("HEAD", b"")):
            answer = await stage.ask("/a", ("Cookie", BOB), method=method)
            assert (answer.status, answer.body) == (303, body)
            assert answer.all("Location") == ["/buy?t=a%20b"]
            assert answer.all("Set-Cookie") == ["token=; Max-Age=0", "b=2"]
            assert answer.all("X-SK-Tier") == ["free"]
            assert answer.all("Link") == ["<x>; rel=y"]
            assert answer.all("Retry-After") == ["7"]
            assert answer.all("Content-Length") == ["9"]
            assert answer.all("X-SK-Keep") == []
        stage.gate.refusal = just_right
        assert (await stage.ask("/a", ("Cookie", BOB))).body == b"x" * 65_536
        stage.gate.refusal = too_long
        assert (await stage.ask("/a", ("Cookie", BOB))).status == 503


async def test_a_websocket_opens_through_it_and_a_refused_one_does_not(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage, aiohttp.ClientSession() as session:
        url = f"{stage.traefik.url}/socket"
        headers = {"Host": "blog.test", "Cookie": ALICE, "X_SK_Tier": "forged"}
        for _ in range(2):
            async with session.ws_connect(url, headers=headers) as socket:
                assert ours([tuple(pair) for pair in await socket.receive_json()]) == TAGS
                await socket.send_str("hello")
                assert await socket.receive_str() == "heard hello"
        assert len(stage.gate.requests) == 1
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{stage.traefik.url}/paid/socket", headers={**headers, "Cookie": BOB})
        assert refused.value.status == 402


async def test_http2_clients_get_the_same(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        port = int(stage.traefik.url.rpartition(":")[2])
        pseudo = [(":method", "GET"), (":scheme", "http"), (":authority", "blog.test")]
        for _ in range(2):
            reply = await ask_h2(
                port, [*pseudo, (":path", "/a"), ("cookie", ALICE), ("x_sk_tier", "forged"), ("x.sk.user", "forged")]
            )
            assert reply.status == 200
            assert ours([tuple(pair) for pair in json.loads(reply.body)]) == TAGS
        assert len(stage.gate.requests) == 1
        # Two cookie fields of HTTP/2 become one Cookie header with another text.
        await ask_h2(port, [*pseudo, (":path", "/a"), ("cookie", ALICE), ("cookie", "b=c")])
        assert stage.gate.requests[-1].cookie == f"{ALICE}; b=c"
        refused = await ask_h2(port, [*pseudo, (":path", "/paid/x"), ("cookie", BOB)])
        assert (refused.status, json.loads(refused.body)) == (402, {"error": "tier_required"})


async def test_a_client_that_disconnects_is_no_failure_of_the_gate(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.gate.streams_blocked = True
        stage.gate.cut()
        stage.gate.blocked["slow"] = asyncio.Event()
        host, port = stage.traefik.url.removeprefix("http://").split(":")
        for _ in range(3):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET /a HTTP/1.1\r\nHost: blog.test\r\nCookie: slow\r\n\r\n")
            requests = len(stage.gate.requests)
            await until(lambda requests=requests: asyncio.sleep(0, len(stage.gate.requests) > requests), "the question")
            writer.transport.abort()
            for _ in range(3):  # until Traefik notices that the client has disconnected
                crowd = await asyncio.gather(*(stage.ask("/a", ("Cookie", f"new={number}")) for number in range(10)))
                assert {answer.status for answer in crowd} == {200}
        stage.gate.blocked.pop("slow").set()
        assert read(await exchange(stage.traefik.url, b"GET /a HTTP/1.0\r\nHost: blog.test\r\n\r\n")).status == 200
