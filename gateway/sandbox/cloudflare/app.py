"""The fake Cloudflare as an aiohttp application: authentication, ordered failures, routes.

From Cloudflare's documents: the routes, the envelope, that PUT replaces the whole document and wants a catch-all last,
6003 for a malformed Authorization header, and the message of 1056. The other numbers are plausible, not recorded.
"""

from __future__ import annotations

import copy
import json
import logging
import time
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from gateway.log import fields
from gateway.sandbox.cloudflare import faults
from gateway.sandbox.cloudflare.configuration import read_configuration
from gateway.sandbox.cloudflare.faults import Fault, Faults
from gateway.sandbox.cloudflare.refusal import Refusal, envelope, refused
from gateway.sandbox.cloudflare.zones import Zones, page

log = logging.getLogger(__name__)

BASE_PATH = "/client/v4"
_MAX_LOGGED = 1000


@dataclass
class Tunnel:
    """`source` is `cloudflare`, or `local` for one that cloudflared's own file configures."""

    account_id: str
    tunnel_id: str
    config: dict[str, Any] | None
    source: str
    version: int = 0

    def as_result(self) -> dict[str, object]:
        return {
            "account_id": self.account_id,
            "tunnel_id": self.tunnel_id,
            "version": self.version,
            "config": self.config,
            "source": self.source,
            "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }


class CloudflareSandbox:
    """A Cloudflare of some tunnels, zones and one API token, under `BASE_PATH` of wherever it is served.

    `requests` is the log of what was asked, without the token.
    """

    def __init__(self, token: str) -> None:
        self._token = token
        self._tunnels: dict[tuple[str, str], Tunnel] = {}
        self.zones = Zones()
        self.faults = Faults()
        self.requests: list[dict[str, object]] = []

    def add_tunnel(
        self, account_id: str, tunnel_id: str, config: dict[str, Any] | None = None, *, source: str = "cloudflare"
    ) -> None:
        """A tunnel; `config` None: it never had one."""
        self._tunnels[account_id, tunnel_id] = Tunnel(account_id, tunnel_id, copy.deepcopy(config), source)

    def config(self, account_id: str, tunnel_id: str) -> dict[str, Any] | None:
        """What the tunnel's configuration is now."""
        return copy.deepcopy(self._tunnels[account_id, tunnel_id].config)

    def version(self, account_id: str, tunnel_id: str) -> int:
        """How often it has been written."""
        return self._tunnels[account_id, tunnel_id].version

    def application(self) -> web.Application:
        """The application."""
        app = web.Application(client_max_size=4 * 1024 * 1024)
        path = BASE_PATH + "/accounts/{account_id}/cfd_tunnel/{tunnel_id}/configurations"
        app.router.add_get("/_sandbox/requests", self._list_requests)
        app.router.add_route("*", "/_sandbox/faults", self._order_faults)
        app.router.add_route("*", path, self._serve)
        app.router.add_route("*", BASE_PATH + "/zones", self._serve)
        app.router.add_route("*", BASE_PATH + "/zones/{zone_id}/dns_records", self._serve)
        app.router.add_route("*", BASE_PATH + "/zones/{zone_id}/dns_records/{record_id}", self._serve)
        app.router.add_route("*", "/{path:.*}", self._no_route)
        return app

    async def _serve(self, request: web.Request) -> web.Response:
        raw = await request.read()
        entry = self._note(request)
        fault = self.faults.take(request.method, request.path)
        try:
            instead = await faults.before(fault, request) if fault is not None else None
            if instead is not None:
                entry["status"] = instead.status
                return instead
            answer, status = self._work(request, raw), 200
        except Refusal as refusal:
            answer, status = refused(refusal), refusal.status
        entry["status"] = status
        if fault is not None and fault.kind == "lost":
            faults.cut(request)
        return web.json_response(answer, status=status)

    def _work(self, request: web.Request, raw: bytes) -> dict[str, object]:
        self._check_token(request)
        return self._zone_work(request, raw) if "/zones" in request.path else envelope(self._tunnel_work(request, raw))

    def _tunnel_work(self, request: web.Request, raw: bytes) -> dict[str, object]:
        tunnel = self._tunnels.get((request.match_info["account_id"], request.match_info["tunnel_id"]))
        if tunnel is None:
            raise Refusal(404, 1003, "Tunnel not found")
        if request.method == "PUT":
            tunnel.config = read_configuration(raw)
            tunnel.source = "cloudflare"
            tunnel.version += 1
        elif request.method != "GET":
            raise Refusal(405, 10405, "Method not allowed for this authentication scheme")
        return tunnel.as_result()

    def _zone_work(self, request: web.Request, raw: bytes) -> dict[str, object]:
        zone_id, record_id = request.match_info.get("zone_id"), request.match_info.get("record_id")
        if request.method == "GET" and record_id is None:
            items, most = (self.zones.listed(), 50) if zone_id is None else (self.zones.zone(zone_id).records, 5000)
            number, per_page = int(request.query.get("page", 1)), int(request.query.get("per_page", 20))
            shown, info = page(items, number, per_page, most)
            return {**envelope(shown), "result_info": info}
        if request.method == "POST" and zone_id is not None and record_id is None:
            return envelope(self.zones.create(zone_id, _body(raw)))
        if request.method == "PATCH" and zone_id is not None and record_id is not None:
            return envelope(self.zones.change(zone_id, record_id, _body(raw)))
        raise Refusal(405, 10405, "Method not allowed for this authentication scheme")

    def _check_token(self, request: web.Request) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            cause = (6111, "Invalid format for Authorization header")
            raise Refusal(400, 6003, "Invalid request headers", cause)
        if token != self._token:
            raise Refusal(403, 10000, "Authentication error")

    def _note(self, request: web.Request) -> dict[str, object]:
        entry: dict[str, object] = {"method": request.method, "path": request.path, "status": None}
        self.requests.append(entry)
        del self.requests[:-_MAX_LOGGED]
        return entry

    async def _no_route(self, request: web.Request) -> web.Response:
        refusal = Refusal(404, 7003, f"Could not route to {request.path}, perhaps your object identifier is invalid?")
        return web.json_response(refused(refusal), status=refusal.status)

    async def _list_requests(self, request: web.Request) -> web.Response:
        return web.json_response(self.requests)

    async def _order_faults(self, request: web.Request) -> web.Response:
        """GET lists, POST adds one ({kind, method, times, status, code, message, seconds}), DELETE clears."""
        if request.method == "DELETE":
            self.faults.waiting.clear()
        elif request.method == "POST":
            try:
                fault = Fault(**json.loads(await request.read()))
            except (TypeError, ValueError) as exc:
                return web.json_response({"error": str(exc)}, status=400)
            self.faults.waiting.append(fault)
            log.info("fault_ordered", extra=fields(kind=fault.kind, method=fault.method, times=fault.times))
        return web.json_response([fault.as_json() for fault in self.faults.waiting])


def _body(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Refusal(400, 9207, "Request body is invalid.")
    return body
