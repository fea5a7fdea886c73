"""For `skpay doctor`: what only the running server knows; and its remedy for a portal that was changed at Stripe."""

from __future__ import annotations

from dataclasses import asdict

from aiohttp import web

from gateway.billing.checkout.portal import push_configurations
from gateway.billing.provision.enforcement import check_enforcement
from gateway.billing.work.server_facts import server_facts
from gateway.web.context import BILLING


async def examine(request: web.Request) -> web.Response:
    """Write once to the database and tell how that went, and what is known of clock, disk, account and portals."""
    return web.json_response(await server_facts(request.app[BILLING]))


async def check_limits(request: web.Request) -> web.Response:
    """Prove with a call to LiteLLM, for each app, that it enforces limits."""
    return web.json_response({"apps": [asdict(each) for each in await check_enforcement(request.app[BILLING])]})


async def push_portals(request: web.Request) -> web.Response:
    """Write the portal configuration of every app to Stripe again."""
    return web.json_response({"portals": await push_configurations(request.app[BILLING])})
