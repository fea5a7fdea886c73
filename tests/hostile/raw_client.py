"""Requests that no client library sends: raw bytes of the test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from hostile.echo_backend import Got

Pairs = Iterable[tuple[str, str]]


@dataclass
class Reply:
    """`got`: the request as the app got it, if the app answered. `rest`: bytes after the answer."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    rest: bytes = b""

    def header(self, name: str) -> str | None:
        """The value of a header that occurs at most once."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) <= 1, (name, values)
        return values[0] if values else None

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def got(self) -> Got | None:
        if self.status != 200 or self.header("ETag") != '"1"' or not self.body:
            return None
        method, target, headers = self.json()
        return Got(method, target, [(name, value) for name, value in headers])


def request(
    target: str, headers: Pairs = (), *, method: str = "GET", host: str | None = "sk.test", body: bytes = b""
) -> bytes:
    """One request as bytes; text is Latin-1. `host` None: without a Host."""
    lines = [f"{method} {target} HTTP/1.1"]
    lines += [f"Host: {host}"] if host is not None else []
    lines += [f"{name}: {value}" for name, value in headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection that is always closed, within ten seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
    try:
        async with asyncio.timeout(10):
            yield reader, writer
    finally:
        writer.close()


async def send(port: int, *pieces: bytes, answers: int = 1) -> list[Reply]:
    """Send each piece in its own write; return that many answers, fewer if the connection is closed before."""
    found: list[Reply] = []
    method = pieces[0].partition(b" ")[0]
    async with connected(port) as (reader, writer):
        with suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            while len(found) < answers and (reply := await _read(reader, method)) is not None:
                found.append(reply)
    return found


async def ask(port: int, raw: bytes) -> Reply:
    """The one answer to this; fails without one."""
    (reply,) = await send(port, raw)
    return reply


async def _read(reader: asyncio.StreamReader, method: bytes) -> Reply | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    pairs = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    reply = Reply(int(first.split()[1]), pairs)
    if reply.status == 100:
        return await _read(reader, method)
    length = reply.header("Content-Length")
    if method == b"HEAD" or reply.status in (101, 204, 304):
        return reply
    if length is None and reply.header("Transfer-Encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            reply.body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        reply.body = await (reader.read() if length is None else reader.readexactly(int(length)))
    return reply
