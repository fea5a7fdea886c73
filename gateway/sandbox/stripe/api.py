"""The /v1 door: key, version, route, faults, parameters, idempotency, then one handler. All have a Request-Id."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
from collections import deque
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from aiohttp import web

from gateway.sandbox.stripe import (
    account,
    charges,
    checkout,
    clock,
    customers,
    disputes,
    invoices,
    items,
    portal,
    products,
    schedules,
    subscriptions,
)
from gateway.sandbox.stripe.account_state import API_VERSION, VERSION, AccountState
from gateway.sandbox.stripe.calls import Call, Route
from gateway.sandbox.stripe.faults import Fault, Faults
from gateway.sandbox.stripe.form import Tree, decode
from gateway.sandbox.stripe.idempotency import Keys, Saved
from gateway.sandbox.stripe.ids import new_id
from gateway.sandbox.stripe.refusal import ApiError, invalid
from gateway.sandbox.stripe.render import expanded, truncated
from gateway.sandbox.stripe.snapshots import rendered

Json = dict[str, Any]
log = logging.getLogger(__name__)
ROUTES: tuple[Route, ...] = (
    *customers.ROUTES,
    *products.ROUTES,
    *checkout.ROUTES,
    *subscriptions.ROUTES,
    *items.ROUTES,
    *schedules.ROUTES,
    *invoices.ROUTES,
    *portal.ROUTES,
    *charges.ROUTES,
    *disputes.ROUTES,
    *account.ROUTES,
)
_LOG_LENGTH = 10_000


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.escape(path).replace(r"\{\}", r"([^/]+)"))


# A path with a fixed word (create_preview) must be tried before the one with an id in that place.
_TABLE = tuple(
    (route, _pattern(route.path)) for route in sorted(ROUTES, key=lambda route: route.path.split("/").count("{}"))
)


@dataclass
class LoggedRequest:
    """One request as it is being answered, and as the log shows it afterwards."""

    request_id: str
    at: float
    method: str
    path: str
    idempotency_key: str | None
    version: str
    params: Tree = field(default_factory=dict)
    status: int | None = None
    replayed: bool = False
    fault: str | None = None


class Api:
    """Answers /v1 for one state."""

    def __init__(self, state: AccountState, secret_keys: set[str], faults: Faults, rate_limit: int | None) -> None:
        self.state = state
        self.secret_keys = secret_keys
        self.faults = faults
        self.rate_limit = rate_limit
        self.log: deque[LoggedRequest] = deque(maxlen=_LOG_LENGTH)
        self._keys = Keys()
        self._recent: dict[str, deque[float]] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any request under /v1."""
        logged = self._log(request)
        fault: Fault | None = None
        raw = await request.read()
        try:
            self._authenticate(request)
            if not VERSION.fullmatch(logged.version):
                raise invalid(f"Invalid Stripe API version: {logged.version}")
            route, ids = self._route(logged)
            self._limit(route)
            fault = self.faults.strike(logged.method, logged.path)
            logged.fault = fault.effect if fault else None
            if fault and fault.effect in ("reset", "rubbish"):
                return self._broken(request, logged, fault)
            if fault and fault.effect == "status" and fault.status < 500:
                return self._answer(logged, fault.status, _encoded(fault.body()), fault.headers())
            logged.params = self._tree(request, raw)
            call = Call(route.spec.read(logged.params), ids)
            saved = self._begin(request, logged)
        except ApiError as exc:
            return self._answer(logged, exc.status, _encoded(exc.body()))
        if saved is not None and saved.status is not None:
            logged.replayed = True
            headers = {"Idempotent-Replayed": "true", "Original-Request": saved.request_id}
            return self._answer(logged, saved.status, saved.body, headers)
        if saved is not None and logged.idempotency_key:
            self._keys.hold(logged.idempotency_key, saved)
        status, body, headers = await self._perform(route, call, logged, fault)
        if saved is not None:
            saved.status, saved.body, saved.request_id = status, body, logged.request_id
        if fault and fault.effect in ("lost_reply", "truncated"):
            logged.status = status
            return await _cut(request, body, fault)
        return self._answer(logged, status, body, headers)

    def _log(self, request: web.Request) -> LoggedRequest:
        logged = LoggedRequest(
            new_id("req", 14),
            self.state.wall(),
            request.method,
            request.path,
            request.headers.get("Idempotency-Key"),
            request.headers.get("Stripe-Version", API_VERSION),
        )
        self.log.append(logged)
        return logged

    def _authenticate(self, request: web.Request) -> None:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not key:
            raise ApiError(
                401,
                "You did not provide an API key. You need to provide your API key in the Authorization header, using "
                "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See https://stripe.com/docs/api#"
                "authentication for details, or we can help at https://support.stripe.com/.",
            )
        if key.strip() not in self.secret_keys:
            shown = re.match(r"(?:sk|rk|pk)_(?:test|live)_", key)
            raise ApiError(401, f"Invalid API Key provided: {shown[0] if shown else ''}{'*' * 4}{key[-4:]}")

    def _route(self, logged: LoggedRequest) -> tuple[Route, tuple[str, ...]]:
        for route, pattern in _TABLE:
            match = pattern.fullmatch(logged.path) if route.method == logged.method else None
            if match:
                return route, match.groups()
        raise ApiError(
            404,
            f"Unrecognized request URL ({logged.method}: {logged.path}). If you are trying to list objects, remove the "
            "trailing slash. If you are trying to retrieve an object, make sure you passed a valid (non-empty) "
            "identifier in your code. Please see https://stripe.com/docs or we can help at https://support.stripe.com/.",
        )

    def _limit(self, route: Route) -> None:
        """Requests per second and endpoint, in real time, as Stripe counts them; off unless set."""
        if self.rate_limit is None:
            return
        now = self.state.wall()
        recent = self._recent.setdefault(f"{route.method} {route.path}", deque())
        while recent and recent[0] <= now - 1:
            recent.popleft()
        if len(recent) >= self.rate_limit:
            raise ApiError(
                429,
                "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.",
                code="rate_limit",
            )
        recent.append(now)

    def _tree(self, request: web.Request, raw: bytes) -> Tree:
        query = request.rel_url.raw_query_string.encode()
        if request.method != "POST":
            return decode(query + b"&" + raw)
        if raw and request.content_type != "application/x-www-form-urlencoded":
            raise invalid(
                "Invalid request (check that your POST content type is application/x-www-form-urlencoded). If you have "
                "questions, we can help at https://support.stripe.com/."
            )
        return decode(query + b"&" + raw)

    def _begin(self, request: web.Request, logged: LoggedRequest) -> Saved | None:
        if logged.method != "POST" or not logged.idempotency_key:
            return None
        fingerprint = hashlib.sha256(json.dumps(logged.params, sort_keys=True).encode()).hexdigest()
        now = int(self.state.wall() + self.state.offset_seconds)
        return self._keys.begin(logged.idempotency_key, logged.method, logged.path, fingerprint, now)

    async def _perform(
        self, route: Route, call: Call, logged: LoggedRequest, fault: Fault | None
    ) -> tuple[int, bytes, dict[str, str]]:
        if fault and fault.effect == "slow":
            await asyncio.sleep(fault.seconds)
        if fault and fault.effect == "status" and not fault.done:
            return fault.status, _encoded(fault.body()), fault.headers()
        status, body = self._done(route, call, logged)
        if fault and fault.effect == "status":
            return fault.status, _encoded(fault.body()), fault.headers()
        return status, body, {}

    def _done(self, route: Route, call: Call, logged: LoggedRequest) -> tuple[int, bytes]:
        self.state.request = {"id": logged.request_id, "idempotency_key": logged.idempotency_key}
        try:
            return 200, _encoded(self.answer_of(route, call))
        except ApiError as exc:
            return exc.status, _encoded(exc.body())
        except Exception:
            log.exception("sandbox_stripe_failed")
            return 500, _encoded({"error": {"message": "The sandbox has a bug.", "type": "api_error"}})
        finally:
            self.state.request = {"id": None, "idempotency_key": None}

    def answer_of(self, route: Route, call: Call) -> Json:
        """What the handler answers, rendered and expanded."""
        request, self.state.request = self.state.request, {"id": None, "idempotency_key": None}
        clock.settle(self.state)
        self.state.request = request
        answer: Json = rendered(self.state, route.handler(self.state, call))
        whole = expanded(self.state, answer, call.params.get("expand", []))
        return truncated(whole, self.state.settings.nested_list_length)

    def _answer(
        self, logged: LoggedRequest, status: int, body: bytes, headers: dict[str, str] | None = None
    ) -> web.Response:
        logged.status = status
        every = {
            "Request-Id": logged.request_id,
            "Stripe-Version": logged.version,
            "Cache-Control": "no-cache, no-store",
            "Date": formatdate(self.state.wall(), usegmt=True),
        }
        if logged.idempotency_key:
            every["Idempotency-Key"] = logged.idempotency_key
        return web.Response(
            status=status, body=body, content_type="application/json", headers={**every, **(headers or {})}
        )

    def _broken(self, request: web.Request, logged: LoggedRequest, fault: Fault) -> web.Response:
        if fault.effect == "rubbish":
            logged.status = 200
            return web.Response(text="<html><body>Bad gateway, but politely</body></html>", content_type="text/html")
        _hang_up(request)
        return web.Response()


def _encoded(answer: Json) -> bytes:
    return json.dumps(answer, indent=2, ensure_ascii=False).encode()


def _hang_up(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


async def _cut(request: web.Request, body: bytes, fault: Fault) -> web.StreamResponse:
    """The work is done, but the caller gets nothing, or half of it."""
    if fault.effect == "lost_reply":
        _hang_up(request)
        return web.Response()
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response
