"""An app that records the raw bytes of each request and echoes them; nothing else interprets them.

It is strict: whatever is not exactly one well-framed request is written down in `problems`, since that is what a
smuggled request looks like from here.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Pairs = list[tuple[str, str]]
# X-SK-Tier as some backend may read it: an underscore, a dot or any other separator, or none where one should be.
OURS = re.compile(r"(?i)^x[^a-z0-9]*sk[^a-z0-9]")
_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (\S+) HTTP/1\.1")
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?(.*)")


@dataclass
class Got:
    """One request: `raw` is its head without the empty line."""

    method: str
    target: str
    headers: Pairs
    body: str = ""

    def values(self, name: str) -> list[str]:
        """Every value of the header of this name, in any case."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def tags(self) -> dict[str, str]:
        """Every header that may be read as one of ours, in lower case; repeated values are joined."""
        found: dict[str, str] = {}
        for name, value in self.headers:
            if OURS.match(name):
                found[name.lower()] = "\n".join([*([found[name.lower()]] if name.lower() in found else []), value])
        return found


@dataclass
class EchoBackend:
    """`got` in the order of arrival."""

    got: list[Got] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, kept alive."""
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as exc:
            if exc.partial:
                self.problems.append(f"half a request: {exc.partial!r}")
            return False
        got = self._read_head(head)
        if got is None:
            return False
        self.got.append(got)
        if got.values("Upgrade") == ["websocket"]:
            await _web_socket(got, reader, writer)
            return False
        if got.values("Expect"):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            got.body = await _body(got, reader)
        except (asyncio.IncompleteReadError, ValueError):
            return False  # Traefik disconnects when the client's body is malformed
        body = b"" if got.method == "HEAD" else _echoed(got)
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: "1"\r\n')
        writer.write(b"Content-Length: %d\r\n\r\n" % len(_echoed(got)) + body)
        await writer.drain()
        return True

    def _read_head(self, head: bytes) -> Got | None:
        first, *rest = head[:-4].decode("latin-1").split("\r\n")
        line, fields = _LINE.fullmatch(first), [_FIELD.fullmatch(each) for each in rest]
        if line is None or None in fields:
            self.problems.append(f"no request: {head!r}")
            return None
        got = Got(line[1], line[2], [(each[1], each[2]) for each in fields if each is not None])
        framing = [*got.values("Content-Length"), *got.values("Transfer-Encoding")]
        if len(framing) > 1 or len(got.values("Host")) != 1:
            self.problems.append(f"framed twice, or not one Host: {head!r}")
            return None
        return got


async def _body(got: Got, reader: asyncio.StreamReader) -> str:
    """The body; trailers become headers called Trailer-Field."""
    if not got.values("Transfer-Encoding"):
        return (await reader.readexactly(int("".join(got.values("Content-Length")) or 0))).decode("latin-1")
    chunks = []
    while size := int(await reader.readline(), 16):
        chunks.append((await reader.readexactly(size + 2))[:-2])
    while (trailer := await reader.readline()) != b"\r\n":
        got.headers.append(("Trailer-Field", trailer.decode("latin-1").strip()))
    return b"".join(chunks).decode("latin-1")


def _echoed(got: Got) -> bytes:
    return json.dumps([got.method, got.target, got.headers]).encode()


async def _web_socket(got: Got, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accepts the handshake, echoes the request and then all bytes, without frames."""
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    writer.write(_echoed(got) + b"\n")
    while data := await reader.read(65_536):
        writer.write(data)


@asynccontextmanager
async def echo_backend() -> AsyncIterator[EchoBackend]:
    """Listens on loopback until the block ends."""
    backend = EchoBackend()
    server = await asyncio.start_server(backend.serve, "127.0.0.1", 0, limit=2**22)
    backend.port = server.sockets[0].getsockname()[1]
    try:
        yield backend
    finally:
        server.close()
