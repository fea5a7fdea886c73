"""Recorded calls of Traefik, mutated in ways that parsers may read differently, with both answers to each."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator

from access.access_samples import session
from gate.gate_stage import GATE_SECRET, Stage, Written, head, raw

from gateway.gate.protocol import Connection

_CREDENTIALS: list[list[tuple[str, str]]] = [
    [], [("Cookie", f"token={session('alice').decode()}")], [("Cookie", f"token={session('bob').decode()}; a=b")],
    [("Authorization", "Bearer skp_alice")], [("Authorization", f"Bearer {session('bob').decode()}")],
    [("X-Api-Key", session("alice").decode())], [("Cookie", "token=x")], [("Origin", "https://x.example")],
]  # fmt: skip
_URIS = ["/", "/pro/x", "/static/app.js?v=1", "/a//b", "/video", "/.skpayments/upgrade", "/%70ro"]
_FRAMES: list[list[tuple[str, str]]] = [[], [("X-Sk-Plugin", "1")], [("X-Forwarded-Server", "t")]]
RECORDED = [
    raw(head(uri=uri, method=method, more=[*credential, *frame]), f"/gate?app={app}")
    for credential, uri, method, frame, app in itertools.product(
        _CREDENTIALS, _URIS, ["GET", "POST"], _FRAMES, ["skai"]
    )
] + [raw(head(host="blog.example.com", more=credential), "/gate?app=blog") for credential in _CREDENTIALS]
_INSERTED = [
    b"\x00", b"\r", b"\n", b"\r\n", b"\r\n ", b"\r\n\t", b" ", b"\t", b":", b": ", b"\xa0", b"\xff", b"/", b"\r\n\r\n",
    b"Connection: close\r\n", b"Content-Length: 0\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"X-Forwarded-Uri: /pro\r\n", b"x-forwarded-uri: /pro\r\n", b"X-Forwarded-Host: /x\r\n", b"Upgrade: h2c\r\n",
    b"X-Forwarded-Host:chat.example.com\r\n", f"X-Sk-Gate: {GATE_SECRET}\r\n".encode(), b"a:\r\n" * 190,
    b"\nX-Forwarded-Uri: ", b"\nX-Forwarded-Host: ", b"HTTP/1.0",
]  # fmt: skip


def _lines(data: bytes) -> list[bytes]:
    return data.removesuffix(b"\r\n\r\n").split(b"\r\n")


def _joined(lines: list[bytes]) -> bytes:
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _name_in_another_case(data: bytes, rng: random.Random) -> bytes:
    lines = _lines(data)
    at = rng.randrange(1, len(lines))
    name, colon, value = lines[at].partition(b":")
    lines[at] = rng.choice([name.lower(), name.upper(), name.swapcase()]) + colon + value
    return _joined(lines)


def _other_blanks(data: bytes, rng: random.Random) -> bytes:
    lines = _lines(data)
    at = rng.randrange(1, len(lines))
    name, colon, value = lines[at].partition(b": ")
    lines[at] = name + colon.rstrip() + rng.choice([b"", b"  ", b"\t", b" \t"]) + value + rng.choice([b"", b" ", b"\t"])
    return _joined(lines)


def _doubled(data: bytes, rng: random.Random) -> bytes:
    lines = _lines(data)
    lines.insert(rng.randrange(1, len(lines) + 1), rng.choice(lines[1:]))
    return _joined(lines)


def _left_out(data: bytes, rng: random.Random) -> bytes:
    lines = _lines(data)
    del lines[rng.randrange(len(lines))]
    return _joined(lines) if lines else b""


def _in_another_order(data: bytes, rng: random.Random) -> bytes:
    first, *rest = _lines(data)
    at, to = rng.randrange(len(rest)), rng.randrange(len(rest))
    rest[at], rest[to] = rest[to], rest[at]
    return _joined([first, *rest])


def _from_another(data: bytes, rng: random.Random) -> bytes:
    lines, others = _lines(data), _lines(rng.choice(RECORDED))
    lines[rng.randrange(len(lines))] = rng.choice(others)
    return _joined(lines)


def _halves(data: bytes, rng: random.Random) -> bytes:
    mark = rng.choice([b"\r\nX-Forwarded-Host", b"\r\nX-Forwarded-Uri", b"\r\nX-Forwarded-Method"])
    return data.partition(mark)[0] + b"".join(rng.choice(RECORDED).partition(mark)[1:])


def _truncated(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def _inserted(data: bytes, rng: random.Random) -> bytes:
    anywhere = rng.randrange(len(data) + 1)
    at = rng.choice([anywhere, data.find(b"\n", anywhere) + 1])
    return data[:at] + rng.choice(_INSERTED) + data[at:]


def _byte_changed(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]


def _other_line_ends(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\r\n")
    at = rng.randrange(len(lines) - 1)
    return (
        b"\r\n".join(lines[: at + 1]) + rng.choice([b"\n", b"\r", b"\r\r\n", b"\n\r\n"]) + b"\r\n".join(lines[at + 1 :])
    )


def _pipelined(data: bytes, rng: random.Random) -> bytes:
    return data + rng.choice(RECORDED)


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _name_in_another_case, _other_blanks, _doubled, _left_out, _in_another_order, _from_another, _halves, _truncated,
    _inserted, _byte_changed, _other_line_ends, _pipelined,
)  # fmt: skip


class CarefulConnection(Connection):
    """Parses every request and never uses the request cache."""

    def data_received(self, data: bytes) -> None:
        self._read(data)


def answered(on: Stage, data: bytes, kind: type[Connection]) -> bytes:
    """The answers of one connection to these bytes in one read."""
    transport = Written()
    connection = kind(on.listener)
    connection.connection_made(transport)  # type: ignore[arg-type]  # a transport as far as a connection needs it
    connection.data_received(data)
    connection.connection_lost(None)
    return transport.data


def differences(on: Stage, requests: int, seed: int) -> Iterator[tuple[bytes, bytes, bytes]]:
    """The mutated requests to which the cache and the full parser give different answers. Each is sent twice: the
    second time the cache may have it."""
    rng = random.Random(seed)  # noqa: S311  # the same requests each time
    for number in range(requests):
        if number % 5000 == 0:
            for recorded in RECORDED:
                answered(on, recorded, Connection)
        data = rng.choice(RECORDED)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            data = rng.choice(MUTATIONS)(data, rng) if data.count(b"\r\n") > 2 else data
        read = answered(on, data, CarefulConnection)
        for _ in range(2):
            cached = answered(on, data, Connection)
            if cached != read:
                yield data, cached, read
