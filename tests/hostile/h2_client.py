"""HTTP/2 without TLS, by hand: header fields that no library sends, in the order and spelling of the test.

Only what a test needs: one request a connection, nothing compressed, and of the answer its status and body.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hostile.raw_client import connected

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _GOAWAY = 0, 1, 3, 4, 7
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
# RFC 7541, appendix A: the statuses that are one byte.
_STATUS = {0x88: 200, 0x89: 204, 0x8A: 206, 0x8B: 304, 0x8C: 400, 0x8D: 404, 0x8E: 500}
# Appendix B: the digits' Huffman codes.
_DIGITS = {
    "00000": "0", "00001": "1", "00010": "2", "011001": "3", "011010": "4",
    "011011": "5", "011100": "6", "011101": "7", "011110": "8", "011111": "9",
}  # fmt: skip


@dataclass
class H2Reply:
    """`status` 0: the stream was reset or the connection closed instead of an answer."""

    status: int = 0
    body: bytes = b""


async def ask_h2(port: int, fields: Iterable[tuple[str, str]], body: bytes | None = None) -> H2Reply:
    """One request of exactly these fields, pseudo-headers included."""
    block = b"".join(b"\x00" + _text(name) + _text(value) for name, value in fields)
    last = _END_HEADERS | (_END_STREAM if body is None else 0)
    async with connected(port) as (reader, writer):
        writer.write(_PREFACE + _frame(_SETTINGS, 0, 0, b"") + _frame(_HEADERS, last, 1, block))
        if body is not None:
            writer.write(_frame(_DATA, _END_STREAM, 1, body))
        try:
            return await _reply(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return H2Reply()


async def _reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> H2Reply:
    reply = H2Reply()
    while True:
        head = await reader.readexactly(9)
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:9], "big")
        payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
        if kind == _SETTINGS and not flags & _ACK:
            writer.write(_frame(_SETTINGS, _ACK, 0, b""))
        if kind == _GOAWAY or (kind == _RESET and stream == 1):
            # An answer may be followed by a reset if the request's body is not read.
            return reply
        if kind == _HEADERS and stream == 1 and not reply.status:
            reply.status = _status(payload)
        if kind == _DATA and stream == 1:
            reply.body += payload
        if kind in (_DATA, _HEADERS) and stream == 1 and flags & _END_STREAM:
            return reply


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _text(text: str) -> bytes:
    raw = text.encode("latin-1")
    if len(raw) < 127:
        return bytes((len(raw),)) + raw
    return b"\x7f" + bytes(_integer(len(raw) - 127)) + raw


def _integer(rest: int) -> Iterator[int]:
    while rest >= 128:
        yield rest % 128 + 128
        rest //= 128
    yield rest


def _status(block: bytes) -> int:
    """`:status` is the first field of an answer, after a change of the table's size, if there is one."""
    while block[0] & 0xE0 == 0x20:
        block = block[1:]
    if block[0] in _STATUS:
        return _STATUS[block[0]]
    length, text = block[1] & 0x7F, block[2:]
    if not block[1] & 0x80:
        return int(text[:length])
    bits, digits, code = "".join(f"{byte:08b}" for byte in text[:length]), "", ""
    for bit in bits:
        code += bit
        if code in _DIGITS:
            digits, code = digits + _DIGITS[code], ""
    return int(digits)
