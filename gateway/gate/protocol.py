"""HTTP/1.1 on one connection: bytes in, the gate's answers out, with a limit on everything."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, cast

import httptools

from gateway.access.cookies import AGAIN
from gateway.gate import answers
from gateway.gate.request import EMPTY, ENCODING, LENGTH, SLOT_OF, Request

if TYPE_CHECKING:
    from gateway.gate.listener import Listener

log = logging.getLogger(__name__)

MAX_HEAD_BYTES = 65_536
MAX_URL_BYTES = 16_384
MAX_HEADERS = 200
MAX_REQUESTS_PER_READ = 64
# httptools swallows a header of any size without a call (T33), so bytes are counted as they arrive, and a large read
# is fed in pieces so that no request slips past the count inside it.
_PIECE = 16_384
_MAX_DROPPED_BYTES = 1_048_576


class _Stop(Exception):
    """Leaves the parser from inside a callback: what is to be said is in `Connection._last`."""


class Connection(asyncio.Protocol):
    """One connection of Traefik's. Requests are answered in their order; the first odd thing ends it."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._answer = listener.gate.answer
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._out: list[bytes] = []
        self._url = b""
        self._values = EMPTY.copy()
        self._count = 0
        self._head_bytes = 0
        self._last: bytes | None = None
        self._dropped_bytes = 0
        self.closing = False
        # Ticks of the listener's clock, one a second.
        self.active_at = listener.tick
        self.began_at: int | None = None
        self.stalled_at: int | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, not an assert: uvloop's transports are no subclass of asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)
        if not self._listener.admit(self):
            self.end(answers.TOO_MANY)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        self._transport = None
        self._listener.gone(self)

    def eof_received(self) -> bool:
        """A half-closed peer gets the answers already written; then the connection closes."""
        return False

    def pause_writing(self) -> None:
        """The peer does not read its answers: read no more of its questions."""
        self.stalled_at = self._listener.tick
        if self._transport is not None and not self.closing:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self.stalled_at = None
        if self._transport is not None and not self.closing:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self.closing:
            self._dropped_bytes += len(data)
            if self._dropped_bytes > _MAX_DROPPED_BYTES:
                self.abort()
            return
        self.active_at = self._listener.tick
        if len(data) <= _PIECE:
            self._feed(data)
        else:
            for start in range(0, len(data), _PIECE):
                self._feed(data[start : start + _PIECE])
                if self.closing:
                    return
        if self._out:
            self._flush()
        if self._head_bytes:
            if self.began_at is None:
                self.began_at = self._listener.tick
        else:
            self.began_at = None

    def _feed(self, data: bytes) -> None:
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Raised after the request was complete and answered; we speak nothing but HTTP/1.1.
            self.end(None)
        except httptools.HttpParserError:
            self.end(self._last or answers.BAD_REQUEST)
        else:
            if self._head_bytes > MAX_HEAD_BYTES:
                self.end(answers.TOO_LARGE)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def end(self, last: bytes | None) -> None:
        """Write what is due and `last`, then close; the peer's further bytes are dropped.

        After an answer only our half is closed, until the peer closes its own or the listener's patience ends:
        closing a socket with unread bytes resets it, and the peer may never see the answer.
        """
        if self.closing:
            return
        self.closing = True
        if last is not None:
            self._out.append(answers.closing(last))
        if self._transport is None:
            return
        if self._out:
            self._flush()
            self._transport.write_eof()
        else:
            self._transport.close()

    def abort(self) -> None:
        """Drop the connection and whatever it has not read."""
        self.closing = True
        if self._transport is not None:
            self._transport.abort()

    # httptools

    def on_url(self, piece: bytes) -> None:
        self._url += piece  # it comes in pieces (T33)
        if len(self._url) > MAX_URL_BYTES:
            self._stop_now(answers.TOO_LARGE)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count += 1
        slot = SLOT_OF.get(name)
        if slot is None:
            slot = SLOT_OF.get(name.lower())
            if slot is None:
                return
        held = self._values[slot]
        self._values[slot] = value if held is None else held + AGAIN + value

    def on_body(self, data: bytes) -> None:
        self._stop_now(answers.BAD_REQUEST)

    def on_message_complete(self) -> None:
        values, url = self._values, self._url
        if self._count > MAX_HEADERS:
            self._stop_now(answers.TOO_LARGE)
        if values[LENGTH] not in (None, b"0") or values[ENCODING] is not None:
            self._stop_now(answers.BAD_REQUEST)
        method = self._parser.get_method()
        try:
            answer = self._answer(Request(method, url, values))
        except Exception:
            log.exception("gate_request_failed")
            answer = answers.INTERNAL
            self._listener.failed.value += 1
        if method == b"HEAD":
            answer = answers.without_body(answer)
        if answer is answers.INTERNAL or self._listener.draining or not self._parser.should_keep_alive():
            self._stop_now(answer)
        self._out.append(answer)
        if len(self._out) >= MAX_REQUESTS_PER_READ:
            self._stop_now(answers.BAD_REQUEST)
        self._url, self._values, self._count, self._head_bytes = b"", EMPTY.copy(), 0, 0

    def _stop_now(self, answer: bytes) -> None:
        self._last = answer
        raise _Stop
