"""For `skpay doctor`: what only the running server knows; and its remedy for a portal that was changed at Stripe."""

from __future__ import annotations

from aiohttp import web

from gateway.billing.examined import examine_self
from gateway.billing.portal import push_configurations
from gateway.web.auth import require_operator
from gateway.web.context import BILLING


async def examine(request: web.Request) -> web.Response:
    """Write once to the database and tell how that went, and what is known of clock, disk, account and portals."""
    require_operator(request)
    return web.json_response(await examine_self(request.app[BILLING]))


async def push_portals(request: web.Request) -> web.Response:
    """Write the portal configuration of every app to Stripe again."""
    require_operator(request)
    return web.json_response({"portals": await push_configurations(request.app[BILLING])})
