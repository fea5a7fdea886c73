"""What the gate would answer, for whoever looks for the reason."""

from __future__ import annotations

from aiohttp import web

from gateway.billing.refresh.status import tier_in_store
from gateway.web.bodies import read_json
from gateway.web.context import BILLING, SITE
from gateway.web.models import GateExplainRequest


async def explain_gate(request: web.Request) -> web.Response:
    """The gate's answer to a request as Traefik would ask about it, step by step; it is not counted."""
    wanted = await read_json(request, GateExplainRequest)
    billing = request.app[BILLING]
    app = billing.app(wanted.app_id)
    sent = [(header.name, header.value) for header in wanted.headers]
    found = await request.app[SITE].explain_gate(app.app_id, wanted.method, wanted.url, sent)
    in_store = await tier_in_store(billing, app, found["identity"]["user_id"])
    return web.json_response({**found, "tier": {**found["tier"], **in_store}})
