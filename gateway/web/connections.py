"""The public listener's connections: the gate's limits, and JSON for malformed requests.

aiohttp itself answers those before any handler: as text, with its version and a part of the request.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD

from gateway.web.errors import error_response, http_error, set_security_headers

MAX_LINE_BYTES = 16_384
MAX_FIELD_BYTES = 65_536
MAX_HEADERS = 200
MAX_HEAD_BYTES = 65_536
LINGER_SECONDS = 5.0
"""A client that has not disconnected after this long is disconnected."""
LIMITS: dict[str, Any] = {
    "max_line_size": MAX_LINE_BYTES,
    "max_field_size": MAX_FIELD_BYTES,
    "max_headers": MAX_HEADERS,
}
_Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
_TOO_LARGE = "too_large", "The request line or headers are too large."
_TOO_LARGE_BODY = json.dumps({"error": _TOO_LARGE[0], "message": _TOO_LARGE[1]}).encode()
_TOO_LARGE_BYTES = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nServer: skpayments\r\nContent-Type: application/json\r\n"
    b"Cache-Control: no-store\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(_TOO_LARGE_BODY)
) + _TOO_LARGE_BODY


class Connection(web.RequestHandler):
    """aiohttp bounds each header but not their sum, so the bytes that arrive between two requests are counted here."""

    __slots__ = ("_body", "_head_bytes", "_refused")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._body: StreamReader = EMPTY_PAYLOAD
        self._head_bytes = 0
        self._refused = False

    def data_received(self, data: bytes) -> None:
        """Read no more of a request with too large a head: aiohttp would keep it all until its end."""
        if self._refused:
            return
        requests = self._request_count
        self._head_bytes = self._head_bytes + len(data) if self._body.is_eof() else 0
        super().data_received(data)
        if self._request_count > requests:
            self._body, self._head_bytes = self._messages[-1][1], 0
        elif self._head_bytes > MAX_HEAD_BYTES and self.transport is not None:
            # Only our half is closed for now: closing a socket with unread bytes discards the answer.
            self._refused = True
            self.transport.write(_TOO_LARGE_BYTES)
            self.transport.write_eof()
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self.force_close)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Log it as aiohttp does; answer JSON that quotes nothing."""
        super().handle_error(request, status, exc, message)
        if isinstance(exc, LineTooLong) or (message or "").startswith("Too many headers"):
            response = error_response(431, *_TOO_LARGE)
        elif status < 500:
            response = error_response(status, "invalid_input", "The request is malformed.")
        else:
            response = error_response(500, "internal", "Internal error; it was logged.")
        set_security_headers(response)
        response.force_close()
        return response


class _Server(web.Server):
    """aiohttp has no option for the class of its connections."""

    def __call__(self) -> Connection:
        return Connection(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Serves an application over `Connection`s."""

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        server.__class__ = _Server
        server.request_handler = _as_json(server.request_handler)
        return server


def _as_json(handler: _Handler) -> _Handler:
    """An unknown `Expect` is refused by aiohttp before any middleware runs."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as exc:
            response = http_error(exc)
            set_security_headers(response)
            return response

    return handle
