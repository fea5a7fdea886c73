"""A scripted gate: decides by a table, publishes changes, stops its heartbeat, freezes, restarts."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Pairs = list[tuple[str, str]]


def route(path: str, *methods: str) -> dict[str, Any]:
    """A rule as the gate sends it: `path` in normal form."""
    return {"path": path, "folded": path.lower(), "methods": list(methods)}


@dataclass
class Question:
    """One call of the plugin: `headers` raw, in order."""

    target: str
    headers: Pairs

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def cookie(self) -> str:
        return "\n".join(self.all("Cookie"))

    @property
    def uri(self) -> str:
        return self.all("X-Forwarded-Uri")[0]


@dataclass
class FakeGate:
    """`sessions`: Cookie header → (user, tier); any other is anonymous, on the free tier. Paths below /paid need pro.

    `answers_on` and `heartbeats_on` are cleared to freeze answers and heartbeats; a cookie in `blocked` waits for
    `blocked[cookie]`. `fresh_for` and `never_after_in` are what its
    answers say, in seconds; None: they are not to be kept.
    """

    sessions: dict[str, tuple[str, str]] = field(default_factory=dict)
    routes: list[dict[str, Any]] = field(default_factory=lambda: [route("/paid/"), route("/.skpayments/")])
    epoch: str = "e1"
    process: str = ""
    number: int = 0
    own: int = 0
    version: str = "v1"
    secret: str = "0123456789abcdef0123456789abcdef"
    fresh_for: int | None = 60
    never_after_in: int = 0
    requests: list[Question] = field(default_factory=list)
    blocked: dict[str, asyncio.Event] = field(default_factory=dict)
    streams: int = 0
    streams_begun: int = 0
    streams_allowed: bool = True
    streams_blocked: bool = False
    refusal: Callable[[], web.Response] | None = None
    answers_on: asyncio.Event = field(default_factory=asyncio.Event)
    heartbeats_on: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    _queues: set[asyncio.Queue[bytes]] = field(default_factory=set)
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """A new process of the same database."""
        self.process, self.own = secrets.token_hex(8), 0
        self.answers_on.set()
        self.heartbeats_on.set()
        app = web.Application()
        app.router.add_route("*", "/gate/changes", self._changes)
        app.router.add_route("*", "/{tail:.*}", self._gate)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        self.cut()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def change(self, user: str, cookie: str = "", tier: str = "") -> None:
        """`user`'s answer may have changed; with a cookie, that session is on another tier from now on."""
        if cookie:
            self.sessions[cookie] = (user, tier)
        self.number += 1
        self.say({"n": self.number, "own": self.own, "app": "blog", "user": user})

    def forget_all(self, version: str, routes: Sequence[dict[str, Any]] | None = None) -> None:
        self.version, self.routes = version, self.routes if routes is None else list(routes)
        self.own += 1
        self.say({"n": self.number, "own": self.own, "all": True, "rules": self._rules(), "version": self.version})

    def say(self, line: dict[str, Any]) -> None:
        for queue in self._queues:
            queue.put_nowait(json.dumps(line).encode() + b"\n")

    def cut(self) -> None:
        """End every stream."""
        for queue in self._queues:
            queue.put_nowait(b"")

    def _rules(self) -> dict[str, Any]:
        return {"blog": {"routes": self.routes}}

    async def _changes(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("X-SK-Gate") != self.secret:
            return web.json_response({"error": "forbidden"}, status=403)
        await self.answers_on.wait()
        if self.streams_blocked:
            await asyncio.Event().wait()
        if not self.streams_allowed:
            return web.json_response({"error": "too_many"}, status=503)
        response = web.StreamResponse(headers={"Content-Type": "application/jsonl"})
        await response.prepare(request)
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        position = {"n": self.number, "own": self.own, "rules": self._rules(), "version": self.version}
        start = {"process": self.process, "epoch": self.epoch, **position}
        queue.put_nowait(json.dumps(start).encode() + b"\n")
        self._queues.add(queue)
        self.streams += 1
        self.streams_begun += 1
        beats = asyncio.create_task(self._beat(queue))
        try:
            while line := await queue.get():
                await response.write(line)
        except ConnectionError:
            pass
        finally:
            self.streams -= 1
            self._queues.discard(queue)
            beats.cancel()
        return response

    async def _beat(self, queue: asyncio.Queue[bytes]) -> None:
        while True:
            await asyncio.sleep(0.2)  # a heartbeat needs time to pass
            await self.heartbeats_on.wait()
            queue.put_nowait(json.dumps({"n": self.number, "own": self.own}).encode() + b"\n")

    async def _gate(self, request: web.Request) -> web.Response:
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers]
        question = Question(request.path_qs, pairs)
        self.requests.append(question)
        answer = self._decided(question)  # decided now, even if it is delivered later
        await self.answers_on.wait()
        hold = self.blocked.get(question.cookie)
        if hold is not None:
            await hold.wait()
        return answer

    def _decided(self, question: Question) -> web.Response:
        if question.all("X-SK-Gate") != [self.secret]:
            return web.json_response({"error": "forbidden"}, status=403)
        if self.refusal is not None:
            return self.refusal()
        user, tier = self.sessions.get(question.cookie, ("", "free"))
        if question.uri.lower().startswith("/paid") and tier != "pro":
            return web.json_response({"error": "tier_required"}, status=402, headers={"X-SK-Tier": tier})
        headers = {"X-SK-App": "blog", "X-SK-Tier": tier, "X-SK-Features": ""}
        if user:
            headers["X-SK-User"] = user
        if self.fresh_for is not None:
            now = int(time.time())
            never = now + self.never_after_in if self.never_after_in else 0
            position = f"{self.epoch} {self.number} {self.process} {self.own} {self.version}"
            headers["X-SK-Keep"] = f"{position} {now + self.fresh_for} {never}"
        return web.Response(headers=headers)
