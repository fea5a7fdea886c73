"""The full request parser: input in pieces, pipelined, malformed or hostile, with a limit on everything."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import httptools

from gateway.access.cookies import REPEATED_HEADER_SEPARATOR
from gateway.gate import answers
from gateway.gate.request import ENCODING, LENGTH, Headers

MAX_HEAD_BYTES = 65_536
MAX_URL_BYTES = 16_384
MAX_HEADERS = 200
MAX_REQUESTS_PER_READ = 64
# httptools swallows a header of any size without a call (T33), so bytes are counted as they arrive, and a large read
# is fed in pieces so that no request slips past the count inside it.
PIECE = 16_384


class LastAnswer(Exception):
    """Nothing more is read from this connection; `answer` (None: nothing) is the last one written to it."""

    def __init__(self, answer: bytes | None) -> None:
        super().__init__()
        self.answer = answer


class Reader:
    """Feeds httptools and passes each whole request to `receive(method, url, headers, keep_alive)`.

    `canonical` are the headers that are kept. `receive` may raise `LastAnswer` to stop.
    """

    def __init__(
        self, receive: Callable[[bytes, bytes, Headers, bool], None], canonical: Mapping[bytes, bytes]
    ) -> None:
        self._receive = receive
        self._canonical = canonical
        self._parser = httptools.HttpRequestParser(self)
        self._last: LastAnswer | None = None
        self._bytes = self._requests = 0
        self.idle = True
        self._begin()

    def feed(self, data: bytes) -> int:
        """Read all of `data`; return how many requests it completed. `idle` afterwards: no other one has begun.

        Raises `LastAnswer` for anything that a correct client does not send.
        """
        self._requests = 0
        start = 0
        while start < len(data):
            room = MAX_HEAD_BYTES - self._bytes
            if room <= 0:
                raise LastAnswer(answers.TOO_LARGE)
            piece = data[start : start + min(PIECE, room)]
            start += len(piece)
            self._bytes += len(piece)
            self._feed(piece)
        self.idle = self._bytes == 0
        return self._requests

    def _feed(self, piece: bytes) -> None:
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            # Raised after the request was complete and answered; only HTTP/1.1 is served.
            raise LastAnswer(None) from None
        except httptools.HttpParserError:
            raise self._last or LastAnswer(answers.BAD_REQUEST) from None

    def _begin(self) -> None:
        self._url = b""
        self._headers: Headers = {}
        self._repeated: list[tuple[bytes, bytes]] = []
        self._count = 0

    # httptools

    def on_message_begin(self) -> None:
        self._bytes = self._bytes or 1  # the first of several in one piece has reset it

    def on_url(self, piece: bytes) -> None:
        self._url += piece  # it comes in pieces (T33)
        if len(self._url) > MAX_URL_BYTES:
            self._stop(answers.TOO_LARGE)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count += 1
        if self._count > MAX_HEADERS:
            self._stop(answers.TOO_LARGE)
        canonical = self._canonical.get(name.lower())
        if canonical is not None:
            if canonical in self._headers:
                self._repeated.append((canonical, value))
            else:
                self._headers[canonical] = value

    def on_headers_complete(self) -> None:
        if self._repeated:
            self._join_repeated()
        body = self._headers.get(LENGTH, b"0") != b"0" or ENCODING in self._headers
        if body or self._parser.get_http_version() not in ("1.0", "1.1"):
            self._stop(answers.BAD_REQUEST)

    def _join_repeated(self) -> None:
        """All values of a header at once, since joining them one by one is quadratic."""
        values: dict[bytes, list[bytes]] = {}
        for name, value in self._repeated:
            values.setdefault(name, [self._headers[name]]).append(value)
        self._headers |= {name: REPEATED_HEADER_SEPARATOR.join(each) for name, each in values.items()}

    def on_message_complete(self) -> None:
        self._requests += 1
        if self._requests > MAX_REQUESTS_PER_READ:
            self._stop(answers.BAD_REQUEST)
        url, headers = self._url, self._headers
        self._bytes = 0
        self._begin()
        try:
            self._receive(self._parser.get_method(), url, headers, self._parser.should_keep_alive())
        except LastAnswer as last:
            self._last = last
            raise

    def _stop(self, answer: bytes) -> None:
        # An exception in a callback reaches `feed` as httptools' own, so the answer is kept here.
        self._last = LastAnswer(answer)
        raise self._last
