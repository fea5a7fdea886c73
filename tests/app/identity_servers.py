"""An Open WebUI and an OpenID provider on real sockets, controlled by the test."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from gateway.access.authentication import (
    AuthenticatedUser,
    AuthenticationOrLookup,
    CredentialLookup,
    RejectedCredential,
)
from gateway.app.credential_resolver import CredentialResolver
from gateway.errors import UpstreamFailed

Row = dict[str, Any]


async def resolved_identity(resolver: CredentialResolver, identity: AuthenticationOrLookup) -> str:
    """The identity after the lookup: a user's id, a refusal's code, "unavailable" or "nobody"."""
    if isinstance(identity, CredentialLookup):
        try:
            identity = await resolver.resolve("skai", identity)
        except UpstreamFailed:
            return "unavailable"
    if isinstance(identity, RejectedCredential):
        return identity.code
    return identity.user_id if isinstance(identity, AuthenticatedUser) else "nobody"


@dataclass
class Server:
    """Answers with `fault` while there is some: a status, "html", "redirect", "huge", "cut", "slow"; `asked` are the
    requests it got, `max_concurrent` the most that it had open together."""

    fault: int | str = ""
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    max_concurrent: int = 0
    _open: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.path_qs, dict(request.headers)))
        self._open += 1
        self.max_concurrent = max(self.max_concurrent, self._open)
        try:
            return await self._handle(request)
        finally:
            self._open -= 1

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if isinstance(self.fault, int):
            return web.json_response({"detail": "no"}, status=self.fault)
        if self.fault == "html":
            return web.Response(text="<html>sign in</html>", content_type="text/html")
        if self.fault == "redirect":
            raise web.HTTPFound("/login")
        if self.fault == "huge":
            return web.Response(body=b'{"role":"' + b"x" * 2_000_000)
        if self.fault == "cut" and request.transport is not None:
            request.transport.abort()
        if self.fault == "slow":
            await asyncio.sleep(30)
        return self.answer(request)

    def answer(self, request: web.Request) -> web.Response:
        raise NotImplementedError

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        return app


@dataclass
class OpenWebUIServer(Server):
    """`rows`: credential → the user's row, as 0.12.4 answers it."""

    rows: dict[str, Row] = field(default_factory=dict)

    def signs_in(self, credential: bytes, user_id: str, role: str = "user") -> None:
        self.rows[credential.decode()] = {"id": user_id, "role": role, "email": f"{user_id}@example.com"}

    def answer(self, request: web.Request) -> web.Response:
        credential = request.headers.get("Authorization", "").removeprefix("Bearer ")
        row = self.rows.get(credential)
        if request.path == "/api/v1/auths/" and credential.startswith("sk-"):
            return web.json_response({"detail": "A human session is required."}, status=403)
        if request.path not in ("/api/v1/auths/", "/api/v1/users/user/status"):
            return web.json_response({"detail": "Not Found"}, status=404)
        if row is None:
            return web.json_response({"detail": "401 Unauthorized"}, status=401)
        answer = web.json_response(row)
        answer.set_cookie("token", credential)
        return answer


@dataclass
class Issuer(Server):
    """`document` is its key set."""

    document: bytes = b""

    def answer(self, request: web.Request) -> web.Response:
        return web.Response(body=self.document, content_type="application/json")
