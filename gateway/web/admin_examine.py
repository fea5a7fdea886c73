"""The API of `skpay doctor`: checks that only the running server can make, and portal configurations."""

from __future__ import annotations

from dataclasses import asdict

from aiohttp import web

from gateway.billing.checkout.portal import push_configurations
from gateway.billing.provision.enforcement import check_enforcement
from gateway.billing.work.server_facts import server_facts
from gateway.web.context import BILLING


async def examine(request: web.Request) -> web.Response:
    """Write to the database once; report the result, and the state of clock, disk, account and portals."""
    return web.json_response(await server_facts(request.app[BILLING]))


async def check_limits(request: web.Request) -> web.Response:
    """Prove with a call to LiteLLM for each app that it enforces limits."""
    return web.json_response({"apps": [asdict(each) for each in await check_enforcement(request.app[BILLING])]})


async def push_portals(request: web.Request) -> web.Response:
    """Rewrite the portal configuration of every app at Stripe."""
    return web.json_response({"portals": await push_configurations(request.app[BILLING])})
