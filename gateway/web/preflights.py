"""Answers to CORS preflights, which Traefik routes here for each app: see `routing.preflights`."""

from __future__ import annotations

import re

from aiohttp import web

from gateway.access.hosts import host_name
from gateway.web.context import BILLING
from gateway.web.errors import Handler

_METHOD = re.compile(r"[A-Z-]{1,32}")
_HEADERS = re.compile(r"[A-Za-z0-9!#$%&'*+.^_|~, -]{1,2000}")


@web.middleware
async def preflights(request: web.Request, handler: Handler) -> web.StreamResponse:
    """204 for a preflight from an origin that the app of this host allows."""
    method = request.headers.get("Access-Control-Request-Method", "")
    if request.method != "OPTIONS" or not _METHOD.fullmatch(method):
        return await handler(request)
    host, origin = host_name(request.host), request.headers.get("Origin", "")
    apps = request.app[BILLING].apps.catalog.apps.values()
    if not any(origin in app.cors and host in app.hosts for app in apps):
        return await handler(request)
    headers = {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Methods": method,
        "Vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
    }
    names = request.headers.get("Access-Control-Request-Headers", "")
    if _HEADERS.fullmatch(names):
        headers["Access-Control-Allow-Headers"] = names
    return web.Response(status=204, headers=headers)
