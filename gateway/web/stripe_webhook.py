"""What Stripe calls."""

from __future__ import annotations

from aiohttp import web

from gateway.billing.events.receive import MAX_EVENT_BYTES, receive
from gateway.stripe.signature import check_header
from gateway.web.bodies import read_body
from gateway.web.context import BILLING


async def stripe_webhook(request: web.Request) -> web.Response:
    """200 once recorded, new or not; 400 only for what Stripe did not sign."""
    billing = request.app[BILLING]
    signature = request.headers.get("Stripe-Signature", "")
    # Before the body is read: junk costs nothing.
    check_header(signature, billing.clock(), billing.stripe.clock_ahead_seconds)
    await receive(billing, await read_body(request, MAX_EVENT_BYTES, anonymous_sender=True), signature)
    return web.json_response({"received": True})
