"""The endpoint for Stripe's events."""

from __future__ import annotations

from aiohttp import web

from gateway.billing.events.receive import MAX_EVENT_BYTES, receive
from gateway.web.bodies import read_body
from gateway.web.context import BILLING


async def stripe_webhook(request: web.Request) -> web.Response:
    """200 once recorded, new or not; 400 only for what Stripe did not sign."""
    body = await read_body(request, MAX_EVENT_BYTES, anonymous_sender=True)
    await receive(request.app[BILLING], body, request.headers.get("Stripe-Signature", ""))
    return web.json_response({"received": True})
