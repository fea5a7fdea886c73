"""What the listener does with bytes that Traefik would not send."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable

import pytest
import uvloop
from access.access_samples import session
from gate.gate_stage import GATE_SECRET, Answer, Stage, ask, exchange, head, raw, read, stage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.gate import reader
from gateway.gate.request import Headers

ALICE, BOB = raw(head(user="alice")), raw(head(user="bob"))


def users(answers: list[Answer]) -> list[str | None]:
    return [answer.header("X-SK-User") for answer in answers]


async def eventually(holds: Callable[[], bool]) -> None:
    """Poll until it holds, for 10 s at most."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  # any condition under a deadline, not one event
            await asyncio.sleep(0.005)


def connections(on: Stage) -> float:
    return on.gate.registry.gauge("skpay_gate_connections", "").of().value


async def test_t33_a_request_in_pieces_of_any_size() -> None:
    async with stage() as on:
        for size in (1, 2, 7, 64, 500):
            pieces = [ALICE[start : start + size] for start in range(0, len(ALICE), size)]
            (answer,) = await exchange(on.port, *pieces)
            assert answer.tags == ("skai", "alice", "pro", "images")


async def test_t33_pieces_that_split_one_request_from_the_next() -> None:
    async with stage() as on:
        stream = ALICE + BOB + ALICE
        for cut in range(1, len(stream), 97):
            assert users(await exchange(on.port, stream[:cut], stream[cut:], answers=3)) == ["alice", "bob", "alice"]


async def test_t33_pipelined_users_each_get_their_own_tags_in_order() -> None:
    people = ["alice", "bob", None, "bob", "bob", None] * 10
    stream = b"".join(raw(head(user=user)) for user in people)
    async with stage() as on:
        answers = await exchange(on.port, stream, answers=60)
        assert users(answers) == people
        assert {answer.tags for answer in answers} == {
            ("skai", "alice", "pro", "images"), ("skai", "bob", "free", ""), ("skai", None, "free", ""),
        }  # fmt: skip


async def test_nothing_of_one_request_is_left_for_the_next() -> None:
    """A paying user's request, then one without a credential, secret, host or path, in one read or several."""
    bare = b"GET /gate?app=skai HTTP/1.1\r\nHost: x\r\n\r\n"
    anonymous = raw(head())
    for odd in (b"", b"X-Odd: 1\r\n"):
        payer = ALICE[:-2] + odd + b"\r\n"
        async with stage() as on:
            stream = [payer, anonymous, payer, bare]
            for pieces in (stream, [b"".join(stream)]):
                answers = await exchange(on.port, *pieces, answers=4)
                assert [answer.status for answer in answers] == [200, 200, 200, 403]
                assert users(answers) == ["alice", None, "alice", None]


async def test_too_many_requests_in_one_read_end_the_connection() -> None:
    tiny = b"GET / HTTP/1.1\r\n\r\n"
    async with stage() as on:
        answers = await exchange(on.port, tiny * 200, until_closed=True)
        assert [answer.status for answer in answers] == [403] * reader.MAX_REQUESTS_PER_READ + [400]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (b"X-Big: " + b"a" * 70_000, 431),
        (b"Cookie: token=" + b"a" * 200_000, 431),
        (b"X" * 70_000 + b": a", 431),
        (b"\r\n".join(b"X-%d: a" % number for number in range(201)), 431),
        (b"X-Sk-Tier: " + b"a" * 20_000, 200),
        (b"\r\n".join(b"X-%d: a" % number for number in range(150)), 200),
    ],
)
async def test_t33_oversized_headers(change: bytes, status: int) -> None:
    async with stage() as on:
        (answer,) = await exchange(on.port, ALICE[:-2] + change + b"\r\n\r\n")
        assert answer.status == status
        assert (await ask(on.port)).status == 200


async def test_an_endless_header_is_refused_by_size() -> None:
    async with stage() as on:
        (answer,) = await exchange(on.port, ALICE[:-2] + b"X-Endless: ", *[b"a" * 10_000] * 10, until_closed=True)
        assert (answer.status, answer.header("Connection")) == (431, "close")


async def test_urls() -> None:
    async with stage() as on:
        assert (await ask(on.port, "/gate?app=skai&x=" + "a" * 17_000)).status == 431
        assert (await ask(on.port, "/gate?app=" + "a" * 15_000)).status == 404
        assert (await ask(on.port, uri="/" + "a" * 9_000)).status == 200
        assert (await ask(on.port, "http://x/gate?app=skai")).status == 404


@pytest.mark.parametrize(
    "text",
    [
        b"GET / HTTP/1.1\n\n",
        b"GET / HTTP/1.1\r\nX-A: 1\n\r\n\r\n",
        b"GET / HTTP/1.1\r\nX-A: 1\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nX-A : 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX-A: a\x00b\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"get / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_malformed_requests_are_refused_and_the_connection_closed(text: bytes) -> None:
    async with stage() as on:
        answers = await exchange(on.port, text, until_closed=True)
        assert [(answer.status, answer.header("Connection")) for answer in answers] == [(400, "close")]
        assert (await ask(on.port)).status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 3\r\n\r\nabc",
        b"Content-Length: 100000\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n0\r\nCookie: token=x\r\n\r\n",
        b"Content-Length: 2\r\n\r\n\r\n",
        b"content-length: 0\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_a_body_is_refused_before_it_arrives(body: bytes) -> None:
    async with stage() as on:
        for end in (b"", ALICE):
            answers = await exchange(on.port, ALICE[:-2] + body + end, until_closed=True)
            assert [answer.status for answer in answers] == [400]
        (empty,) = await exchange(on.port, ALICE[:-2] + b"Content-Length: 0\r\n\r\n")
        assert empty.status == 200


async def test_head_and_other_methods() -> None:
    async with stage() as on:
        answer, after = await exchange(
            on.port, raw(head(user="bob", uri="/pro"), method="GET"), raw(head(user="alice")), answers=2
        )
        assert (answer.status, after.status) == (402, 200)
        stream, writer = await asyncio.open_connection("127.0.0.1", on.port)
        writer.write(raw(head(secret=None), method="HEAD"))
        text = await stream.readuntil(b"\r\n\r\n")
        assert text.startswith(b"HTTP/1.1 403")
        assert b"Content-Length: 116" in text
        writer.write(ALICE)
        assert (await stream.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        writer.close()
        for method in ("DELETE", "OPTIONS", "PATCH"):
            (refused,) = await exchange(on.port, raw(head(), method=method))
            assert (refused.status, refused.header("Allow")) == (405, "GET, HEAD")


@pytest.mark.parametrize("upgrade", [b"h2c", b"websocket"])
async def test_t33_an_upgrade_is_answered_and_then_closed(upgrade: bytes) -> None:
    data = ALICE[:-2] + b"Connection: Upgrade\r\nUpgrade: " + upgrade + b"\r\n\r\n"
    async with stage() as on:
        answers = await exchange(on.port, data + BOB, until_closed=True)
        assert users(answers) == ["alice"]
        assert answers[0].status == 200
        assert (await exchange(on.port, b"CONNECT x:1 HTTP/1.1\r\n\r\n", until_closed=True))[0].status == 403


async def test_connection_close_and_http_1_0_close_after_the_answer() -> None:
    async with stage() as on:
        for data in (ALICE[:-2] + b"Connection: close\r\n\r\n", ALICE.replace(b"HTTP/1.1", b"HTTP/1.0")):
            (answer,) = await exchange(on.port, data, until_closed=True)
            assert (answer.tags, answer.header("Connection")) == (("skai", "alice", "pro", "images"), "close")
        kept = await exchange(on.port, ALICE, BOB, answers=2)
        assert [answer.header("Connection") for answer in kept] == [None, None]


async def test_credentials_sent_twice_are_refused() -> None:
    mine, theirs = session("bob").decode(), session("alice").decode()
    async with stage() as on:
        for more in (
            [("Authorization", f"Bearer {mine}"), ("authorization", f"Bearer {theirs}")],
            [("X-Api-Key", mine), ("x-api-key", theirs)],
        ):
            assert (await ask(on.port, uri="/pro", more=more)).status == 401


async def test_t29_of_two_cookies_the_last_counts_as_in_open_webui() -> None:
    mine, theirs = session("bob").decode(), session("alice").decode()
    async with stage() as on:
        for more in (
            [("Cookie", f"token={mine}"), ("Cookie", f"token={theirs}")],
            [("Cookie", f"token={mine}; token={theirs}")],
            [("Cookie", "a=b"), ("Cookie", f"token={theirs}")],
        ):
            assert (await ask(on.port, uri="/pro", more=more)).tags == ("skai", "alice", "pro", "images")
            other_way = [(name, value.replace(theirs, mine)) for name, value in more]
            assert (await ask(on.port, uri="/pro", more=other_way)).status == 402


async def test_a_half_closed_peer_still_gets_its_answer() -> None:
    async with stage() as on:
        stream, writer = await asyncio.open_connection("127.0.0.1", on.port)
        writer.write(ALICE)
        writer.write_eof()
        assert b"X-SK-User: alice\r\n" in await stream.read()
        writer.close()
        stream, writer = await asyncio.open_connection("127.0.0.1", on.port)
        writer.write(ALICE[:100])
        writer.write_eof()
        assert await stream.read() == b""
        writer.close()
        await eventually(lambda: connections(on) == 0)


async def test_a_reset_in_the_middle_affects_no_other_connection() -> None:
    async with stage() as on:
        for part in (ALICE, ALICE[:50], b""):
            with socket.create_connection(("127.0.0.1", on.port)) as peer:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                peer.sendall(part)
        await eventually(lambda: connections(on) == 0)
        assert (await ask(on.port)).status == 200


async def test_slow_headers_time_out() -> None:
    async with stage(tick_seconds=0.005) as on:
        (answer,) = await exchange(on.port, ALICE[:200], until_closed=True)
        assert (answer.status, answer.header("Connection")) == (408, "close")


async def test_headers_that_drip_time_out() -> None:
    async with stage(tick_seconds=0.005) as on:
        stream, writer = await asyncio.open_connection("127.0.0.1", on.port)
        writer.write(ALICE[:-4])
        reading = asyncio.ensure_future(stream.read())
        async with asyncio.timeout(10):
            while not reading.done():
                writer.write(b"a")
                await asyncio.sleep(0.002)
        assert reading.result().startswith(b"HTTP/1.1 408")
        writer.close()


async def test_a_refused_peer_cannot_keep_the_connection_by_sending_more() -> None:
    async with stage(tick_seconds=0.02) as on:
        stream, writer = await asyncio.open_connection("127.0.0.1", on.port)
        writer.write(b"no request\r\n\r\n")
        assert (await stream.read()).startswith(b"HTTP/1.1 400")
        async with asyncio.timeout(10):
            while connections(on):
                writer.write(b"a")
                await asyncio.sleep(0.02)
        writer.close()


async def test_an_idle_connection_is_closed_after_traefiks_own_limit_not_before() -> None:
    async with stage(tick_seconds=0.005) as on:
        stream, writer = await asyncio.open_connection("127.0.0.1", on.port)
        writer.write(ALICE)
        await stream.readuntil(b"\r\n\r\n")
        started = on.listener.tick
        async with asyncio.timeout(10):
            assert await stream.read() == b""
        assert on.listener.tick - started > 90
        writer.close()


async def test_too_many_connections_get_503() -> None:
    async with stage(max_connections=3) as on:
        opened = [await asyncio.open_connection("127.0.0.1", on.port) for _ in range(3)]
        await eventually(lambda: connections(on) == 3)
        (answer,) = await exchange(on.port, until_closed=True)
        assert (answer.status, answer.header("Retry-After")) == (503, "1")
        opened.pop()[1].close()
        await eventually(lambda: connections(on) < 3)
        assert (await ask(on.port)).status == 200
        for _, writer in opened:
            writer.close()


async def test_far_too_many_connections_are_dropped_at_once() -> None:
    async with stage(max_connections=2) as on:
        opened = [await asyncio.open_connection("127.0.0.1", on.port) for _ in range(8)]
        await eventually(lambda: connections(on) == 4)
        for _, writer in opened:
            writer.close()
        await eventually(lambda: connections(on) == 0)
        assert (await ask(on.port)).status == 200


async def test_a_peer_that_does_not_read_is_not_read_from() -> None:
    """Answers fill the sockets' buffers; then the gate stops reading, and at last disconnects."""
    async with stage(tick_seconds=0.01) as on:
        on.document = b"x" * 200_000
        lines = [("Host", "x"), ("X-Sk-Gate", GATE_SECRET)]
        with socket.create_connection(("127.0.0.1", on.port)) as peer:
            peer.setblocking(False)
            for _ in range(200):
                try:
                    peer.send(raw(lines, "/traefik"))
                except BlockingIOError:
                    break
                await asyncio.sleep(0)
            opened = list(on.listener._connections)
            await eventually(lambda: any(one.stalled_at is not None for one in opened))
            await eventually(lambda: connections(on) == 0)
        assert (await ask(on.port)).status == 200


async def test_an_internal_error_is_answered_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with stage() as on:
        whole = on.gate.answer

        def broken(method: bytes, url: bytes, headers: Headers, data: bytes | None = None) -> bytes:
            if b"failing" in url:
                raise RuntimeError("an internal error")
            return whole(method, url, headers, data)

        on.gate.answer = broken  # type: ignore[method-assign]  # a bug, on purpose
        for odd in ([], [("X-Odd", "1")]):
            answers = await exchange(on.port, raw(head(more=odd), "/failing"), ALICE, until_closed=True)
            assert [(answer.status, answer.header("Connection")) for answer in answers] == [(500, "close")]
            assert answers[0].json["error"] == "internal"
        assert (await ask(on.port)).status == 200
        assert on.listener.failed.value == 2
        assert "gate_request_failed" in caplog.text


async def test_closing_lets_a_request_finish() -> None:
    async with stage() as on:
        port = on.port
        stream, writer = await asyncio.open_connection("127.0.0.1", on.port)
        idle, idle_writer = await asyncio.open_connection("127.0.0.1", on.port)
        writer.write(ALICE[:100])
        await eventually(lambda: any(one.head_started_at is not None for one in on.listener._connections))
        closing = asyncio.ensure_future(on.listener.close(5))
        assert await idle.read() == b""
        writer.write(ALICE[100:])
        text = await stream.read()
        assert b"X-SK-User: alice\r\n" in text
        assert b"Connection: close\r\n" in text
        writer.close()
        idle_writer.close()
        await closing
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_closing_does_not_wait_for_ever() -> None:
    async with stage() as on:
        stream, writer = await asyncio.open_connection("127.0.0.1", on.port)
        writer.write(ALICE[:100])
        await eventually(lambda: any(one.head_started_at is not None for one in on.listener._connections))
        await on.listener.close(0.01)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await stream.readexactly(1)
        writer.close()


def test_it_is_the_same_on_uvloop() -> None:
    """Production's loop: its transports are another class and close differently."""

    async def play() -> None:
        async with stage(tick_seconds=0.005) as on:
            assert users(await exchange(on.port, ALICE, BOB, ALICE + BOB, answers=4)) == [
                "alice",
                "bob",
                "alice",
                "bob",
            ]
            (large,) = await exchange(on.port, ALICE[:-2] + b"X-Big: " + b"a" * 100_000, until_closed=True)
            (slow,) = await exchange(on.port, ALICE[:200], until_closed=True)
            assert (large.status, slow.status) == (431, 408)
            assert (await ask(on.port)).status == 200

    uvloop.run(play())


ODD = [
    ("X-Odd", "1"), ("cookie", "a=b"), ("X-SK-GATE", "x"), ("Content-Length", "3"), ("Content-Length", "0"),
    ("Transfer-Encoding", "chunked"), ("Connection", "close"), ("Connection", "Upgrade"), ("Upgrade", "h2c"),
]  # fmt: skip
METHODS = st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "CONNECT"])
LINES = st.lists(st.sampled_from(head(user="alice") + head(user="bob", uri="/pro") + ODD), max_size=14)


@given(
    st.lists(
        st.tuples(METHODS, LINES, st.sampled_from([b"", b"", b"\r\n", b"x", b"\n", b"\r"])), min_size=1, max_size=3
    ),
    st.data(),
)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=200)
def test_requests_in_pieces_get_the_same_answers_as_whole_ones(
    requests: list[tuple[str, list[tuple[str, str]], bytes]], data: st.DataObject
) -> None:
    """A whole request may be answered from the cache; in pieces it is parsed. No answer may differ."""

    async def play() -> None:
        async with stage() as on:
            whole = [raw(lines, method=method) + junk for method, lines, junk in requests]
            stream = b"".join(whole)
            cut = data.draw(st.integers(0, len(stream)))
            at_once = read(on, whole)
            assert read(on, [stream[:cut], stream[cut:]]) == at_once
            assert read(on, [stream]) == at_once

    asyncio.run(play())


@given(st.lists(st.binary(max_size=200) | st.sampled_from([ALICE, BOB, ALICE[:300], b"\r\n\r\n", b"GET "]), max_size=6))
@settings(deadline=None)
def test_random_bytes_neither_crash_it_nor_yield_a_user(pieces: list[bytes]) -> None:
    async def play() -> None:
        async with stage() as on:
            written = read(on, pieces)
            assert on.listener.failed.value == 0
            assert written == b"" or written.startswith(b"HTTP/1.1 ")
            if b"alice" in written:
                assert session("alice") in b"".join(pieces)

    asyncio.run(play())
