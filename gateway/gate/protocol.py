"""One connection to the gate: bytes in, answers out."""

from __future__ import annotations

import asyncio
import logging
from time import perf_counter
from typing import TYPE_CHECKING, cast

import httptools

from gateway.gate import answers
from gateway.gate.reader import PIECE, LastAnswer, Reader
from gateway.gate.request import USUAL, Headers

if TYPE_CHECKING:
    from gateway.gate.listener import Listener

log = logging.getLogger(__name__)

_MAX_DROPPED_BYTES = 1_048_576


class _Unusual(Exception):
    """The quick way cannot be sure about these bytes; they are read again, carefully."""


class Connection(asyncio.Protocol):
    """Requests are answered in their order; the first odd thing ends the connection.

    There are two ways to read. Traefik sends one whole request at a time, with headers from a known list, each once:
    then httptools fills a dict without a call of ours per header, which is a quarter of all the work. Whatever does
    not fit that exactly (a piece, two at once, an unknown or repeated header, an error) goes to the `Reader`, from
    the first byte of the request.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._quick_parser: httptools.HttpRequestParser | None = None
        self._reader: Reader | None = None
        self._urls: list[bytes] = []
        self._headers: Headers = {}
        self.on_url = self._urls.append
        self.on_header = self._headers.__setitem__
        self._lines = 0
        self._last = False
        self._out: list[bytes] = []
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
        self.active_at = self._listener.tick
        if self.closing:
            self._dropped_bytes += len(data)
            if self._dropped_bytes > _MAX_DROPPED_BYTES:
                self.abort()
            return
        try:
            if self._reader is not None or not self._quick(data):
                self._carefully(data)
        except LastAnswer as last:
            self.end(last.answer)
            return
        if self._last and self._out:
            self.end(self._out.pop())
        elif self._out:
            self._flush()

    def _quick(self, data: bytes) -> bool:
        """Read and answer exactly one usual request; False, with nothing done, if these bytes are anything else."""
        if data[-4:] != b"\r\n\r\n" or len(data) > PIECE:
            return False
        parser = self._quick_parser
        if parser is None:
            parser = self._quick_parser = httptools.HttpRequestParser(self)
        # Cleared when the request has been answered.
        self._lines = data.count(b"\n")  # httptools takes no LF without its CR, nor one in a value
        try:
            parser.feed_data(data)
            answered = self._lines == 0
        except (httptools.HttpParserUpgrade, httptools.HttpParserError):
            answered = False
        if answered:
            return True
        # Not answered: an error, something unusual, or a body that is still to come.
        self._quick_parser = None
        self._headers.clear()
        self._urls.clear()
        return False

    def on_message_complete(self) -> None:
        """The end of a request read quickly. Its line, each header and the empty line end in one CR LF each, so a
        count that does not fit means a repeated header, a body or a second request."""
        headers = self._headers
        if len(headers) != self._lines - 2 or len(self._urls) != 1 or not headers.keys() <= USUAL:
            raise _Unusual
        parser = self._quick_parser
        if parser is None or parser.get_method() != b"GET" or not parser.should_keep_alive():
            raise _Unusual
        answer = self._respond(b"GET", self._urls[0], headers)
        headers.clear()
        self._urls.clear()
        self._lines = 0
        self._out.append(answer)

    def _carefully(self, data: bytes) -> None:
        if self._reader is None:
            self._reader = Reader(self._receive)
        completed = self._reader.feed(data)
        if self._reader.idle:
            self._reader = self.began_at = None
        elif completed or self.began_at is None:
            self.began_at = self._listener.tick

    def _receive(self, method: bytes, url: bytes, headers: Headers, keep_alive: bool) -> None:
        answer = self._respond(method, url, headers)
        if not keep_alive or self._last:
            raise LastAnswer(answer)
        self._out.append(answer)

    def _respond(self, method: bytes, url: bytes, headers: Headers) -> bytes:
        """The gate's answer; a bug of ours is answered too, and the server lives on."""
        started = perf_counter()
        try:
            answer = self._listener.gate.answer(method, url, headers)
        except Exception:
            log.exception("gate_request_failed")
            self._listener.failed.value += 1
            self._last = True
            answer = answers.INTERNAL
        self._listener.seconds.observe(perf_counter() - started)
        return answers.without_body(answer) if method == b"HEAD" else answer

    # writing

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

    def finish(self) -> None:
        """Close now if nothing is on its way, else after the next answer."""
        self._last = True
        if self._reader is None:
            self.end(None)

    def abort(self) -> None:
        """Drop the connection and whatever it has not read."""
        self.closing = True
        if self._transport is not None:
            self._transport.abort()
