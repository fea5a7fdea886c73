"""The API of `skpay gate explain`."""

from __future__ import annotations

from aiohttp import web

from gateway.billing.refresh.status import tier_in_store
from gateway.web.bodies import read_json
from gateway.web.context import BILLING, SITE
from gateway.web.models import GateExplainRequest


async def explain_gate(request: web.Request) -> web.Response:
    """Explain the gate's answer to a request step by step, without counting it."""
    body = await read_json(request, GateExplainRequest)
    billing = request.app[BILLING]
    app = billing.apps.app(body.app_id)
    sent = [(header.name, header.value) for header in body.headers]
    found = await request.app[SITE].explain_gate(app.app_id, body.method, body.url, sent)
    in_store = await tier_in_store(billing.work, app, found["identity"]["user_id"])
    return web.json_response({**found, "tier": {**found["tier"], **in_store}})
