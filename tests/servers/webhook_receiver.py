"""An app's backend that takes notices: it checks each with the official Standard Webhooks library.

async with receiver() as app:
    app.answer_next(500)
    ... app.url, app.seen, app.ids
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from servers.running import served
from standardwebhooks import Webhook

SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDGHmqGfDJ/rQ="
OLD_SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
CHUNK = b"x" * 65536

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Seen:
    """One POST as it arrived."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def webhook_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)["data"]
        return found

    def signed_with(self, secret: str) -> bool:
        """Whether one of its signatures is the library's own over this id, timestamp and body, at any time."""
        at = datetime.fromtimestamp(int(self.headers["webhook-timestamp"]), UTC)
        own = Webhook(secret).sign(self.webhook_id, at, self.body.decode())
        return own in self.headers["webhook-signature"].split(" ")

    def verified(self, secret: str) -> Any:
        """What the library makes of it now; raises if it is not signed or not fresh."""
        return Webhook(secret).verify(self.body, dict(self.headers))


@dataclass
class Receiver:
    """`answers` are given in turn, then 204 for ever. `redirected` counts calls of the address a redirect names."""

    url: str = ""
    received: list[Seen] = field(default_factory=list)
    answers: deque[Answer] = field(default_factory=deque)
    redirected: int = 0
    written: int = 0
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ids(self) -> list[str]:
        return [each.webhook_id for each in self.received]

    def answer_next(self, status: int, text: str = "", times: int = 1, **headers: str) -> None:
        async def answer(_request: web.Request) -> web.StreamResponse:
            return web.Response(status=status, text=text, headers=headers)

        self.answers.extend([answer] * times)

    def reset_next(self) -> None:
        async def answer(request: web.Request) -> web.StreamResponse:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()

        self.answers.append(answer)

    def hang_next(self, times: int = 1) -> None:
        async def answer(_request: web.Request) -> web.StreamResponse:
            await self.closing.wait()
            return web.Response()

        self.answers.extend([answer] * times)

    def stall_next(self, status: int) -> None:
        """A status, and a body that does not come."""

        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(status=status)
            await response.prepare(request)
            await self.closing.wait()
            return response

        self.answers.append(answer)

    def flood_next(self, status: int) -> None:
        """A body without an end."""

        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(status=status)
            await response.prepare(request)
            with contextlib.suppress(ConnectionError):
                while not self.closing.is_set():
                    await response.write(CHUNK)
                    self.written += len(CHUNK)
            return response

        self.answers.append(answer)

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.received.append(Seen(dict(request.headers), await request.read()))
        if self.answers:
            return await self.answers.popleft()(request)
        return web.Response(status=204)

    async def elsewhere(self, _request: web.Request) -> web.StreamResponse:
        self.redirected += 1
        return web.Response()


@contextlib.asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver on loopback for as long as the block lasts."""
    found = Receiver()
    application = web.Application()
    application.router.add_post("/hooks/tiers", found.take)
    application.router.add_route("*", "/elsewhere", found.elsewhere)
    async with served(application) as url:
        found.url = f"{url}/hooks/tiers"
        try:
            yield found
        finally:
            found.closing.set()
