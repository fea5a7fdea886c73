"""The fake LiteLLM as an aiohttp application: authentication, ordered failures, routes."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable, Mapping
from urllib.parse import unquote

from aiohttp import web

from gateway.log import fields as log_fields
from gateway.sandbox.litellm import chat, customers, faults, keys, users
from gateway.sandbox.litellm.faults import Fault, Faults
from gateway.sandbox.litellm.fields import Body, parse
from gateway.sandbox.litellm.refusal import Refusal, detail, proxy_error
from gateway.sandbox.litellm.rows import Key
from gateway.sandbox.litellm.state import State, Version

log = logging.getLogger(__name__)

Handler = Callable[[State, Body], object]
_ADMIN: dict[tuple[str, str], Handler] = {
    ("POST", "/user/new"): users.new,
    ("POST", "/user/update"): users.update,
    ("POST", "/user/delete"): users.delete,
    ("GET", "/user/info"): users.info,
    ("GET", "/v2/user/info"): users.info_v2,
    ("POST", "/key/generate"): keys.generate,
    ("POST", "/key/block"): keys.block,
    ("POST", "/key/delete"): keys.delete,
    ("GET", "/key/info"): keys.info,
    ("POST", "/customer/new"): customers.new,
    ("POST", "/customer/update"): customers.update,
    ("POST", "/customer/delete"): customers.delete,
    ("GET", "/customer/info"): customers.info,
    ("GET", "/customer/list"): customers.list_all,
    ("POST", "/budget/new"): customers.new_budget,
    ("POST", "/budget/update"): customers.update_budget,
    ("POST", "/budget/info"): customers.info_budgets,
    ("GET", "/budget/list"): customers.list_budgets,
}
_CHAT = ("/chat/completions", "/v1/chat/completions")
_MODELS = ("/models", "/v1/models")
_RAW_USER_ID = ("/user/info", "/v2/user/info")
_MAX_LOGGED = 5000
DEFAULT_PRICES = {"gpt-small": 0.0001, "gpt-big": 0.001, "gpt-free": 0.0}
"""The mock models, and what one call costs in US dollars."""


class LiteLLMSandbox:
    """A LiteLLM that keeps everything in memory, forgets it at exit and costs nothing.

    `version` chooses what null means on /user/update; `header_role` is what X-OpenWebUI-User-Id is mapped to
    (`customer` is enforced, `internal_user` only counted). `requests` is the log of what was asked, without keys.
    """

    def __init__(
        self,
        master_key: str,
        *,
        version: str = "1.106.2",
        clock: Callable[[], float] = time.time,
        prices: Mapping[str, float] | None = None,
        header_role: str = "customer",
        default_budget_id: str | None = None,
    ) -> None:
        self.state = State(
            master_key=master_key,
            version=Version.parse(version),
            clock=clock,
            prices=dict(prices or DEFAULT_PRICES),
            header_role=header_role,
            default_budget_id=default_budget_id,
        )
        self.faults = Faults()
        self.requests: list[dict[str, object]] = []

    def application(self) -> web.Application:
        """The application."""
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_get("/health/liveliness", _alive)
        app.router.add_get("/health/liveness", _alive)
        app.router.add_get("/_sandbox/requests", self._list_requests)
        app.router.add_route("*", "/_sandbox/faults", self._order_faults)
        app.router.add_route("*", "/{path:.*}", self._serve)
        return app

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        entry = self._note(request, raw)
        fault = self.faults.take(request.path)
        try:
            if fault is not None:
                instead = await faults.before(fault, request)
                if instead is not None:
                    entry["status"] = instead.status
                    return instead
            answer, status = self._work(request, raw), 200
        except Refusal as refusal:
            answer, status = refusal.body, refusal.status
        entry["status"] = status
        if fault is not None and fault.kind == "lost":
            faults.cut(request)
        return web.json_response(answer, status=status)

    def _work(self, request: web.Request, raw: bytes) -> object:
        self.state.run_reset_job_if_due()
        method, path = request.method, request.path
        if path == "/health/readiness":
            return {"status": "healthy", "db": "connected"}
        handler = _ADMIN.get((method, path))
        chatting = method == "POST" and path in _CHAT
        if handler is None and not chatting and not (method == "GET" and path in _MODELS):
            if any(path == known for _, known in _ADMIN):
                raise detail(405, "Method Not Allowed")
            raise detail(404, "Not Found")
        key = self._caller(request)
        if chatting:
            return chat.complete(self.state, key, request.headers, parse(raw))
        if handler is None:
            models = [{"id": name, "object": "model", "created": 1677610602, "owned_by": "openai"}
                      for name in self.state.prices]  # fmt: skip
            return {"data": models, "object": "list"}
        self._check_admin(key, path)
        return handler(self.state, parse(raw) if method == "POST" else _query(request))

    def _caller(self, request: web.Request) -> Key | None:
        """The virtual key of this call, or None for the master key."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise proxy_error(401, "Authentication Error, No api key passed in.", "auth_error", "None")
        if token == self.state.master_key:
            return None
        key = self.state.keys.get(token)
        if key is None or not key.works(self.state.clock()):
            message = (
                "Authentication Error, Invalid proxy server token passed. Received API Key = sk-..., "
                f"Key Hash (Token) ={hashlib.sha256(token.encode()).hexdigest()}. "
                "Unable to find token in cache or `LiteLLM_VerificationTokenTable`"
            )
            raise proxy_error(401, message, "token_not_found_in_db", "key")
        return key

    def _check_admin(self, key: Key | None, path: str) -> None:
        if key is None:
            return
        if key.allowed_routes and path not in key.allowed_routes:
            raise detail(403, "Virtual key is not allowed to call this route. Only allowed to call routes: "
                              f"{key.allowed_routes}. Tried to call route: {path}")  # fmt: skip
        user = self.state.users.get(key.user_id or "")
        if user is None or user.user_role != "proxy_admin":
            message = (
                "Authentication Error, Only proxy admin can be used to generate, delete, update info for new "
                f"keys/users/teams. Route={path}. Your role=unknown."
            )
            raise proxy_error(401, message, "auth_error", "None")

    def _note(self, request: web.Request, raw: bytes) -> dict[str, object]:
        try:
            body: object = parse(raw) if raw else None
        except Refusal:
            body = raw[:200].decode("utf-8", "replace")
        entry: dict[str, object] = {
            "at": self.state.clock(), "method": request.method, "path": request.path, "query": dict(request.query),
            "body": body, "status": None,
        }  # fmt: skip
        self.requests.append(entry)
        del self.requests[:-_MAX_LOGGED]
        return entry

    async def _list_requests(self, request: web.Request) -> web.Response:
        return web.json_response(self.requests)

    async def _order_faults(self, request: web.Request) -> web.Response:
        """GET lists, POST adds one ({kind, path, times, status, message, seconds}), DELETE clears."""
        if request.method == "DELETE":
            self.faults.clear()
        elif request.method == "POST":
            try:
                fault = Fault(**parse(await request.read()))  # type: ignore[arg-type]  # wrong names and kinds raise
            except (Refusal, TypeError, ValueError) as exc:
                return web.json_response({"error": str(exc)}, status=400)
            self.faults.add(fault)
            log.info("fault_ordered", extra=log_fields(kind=fault.kind, path=fault.path, times=fault.times))
        return web.json_response([fault.as_json() for fault in self.faults.waiting])


def _query(request: web.Request) -> Body:
    """The query; where LiteLLM reads `user_id` from the raw text, `+` is a plus sign and no blank, as there."""
    query: Body = dict(request.query)
    found = re.search(r"user_id=([^&]*)", request.rel_url.raw_query_string)
    if found is not None and request.path in _RAW_USER_ID:
        query["user_id"] = unquote(found[1])
    return query


async def _alive(request: web.Request) -> web.Response:
    return web.json_response("I'm alive!")
