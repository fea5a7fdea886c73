"""The API of `skpay reconcile`: start a run and read its progress. The server's worker does it."""

from __future__ import annotations

from aiohttp import web

from gateway.billing.reconcile.state import ReconcileOptions
from gateway.errors import InvalidInput
from gateway.web.bodies import read_json
from gateway.web.context import BILLING
from gateway.web.models import ReconcileRequest


async def start_reconcile(request: web.Request) -> web.Response:
    """Start comparing Stripe, store and LiteLLM; 409 while a comparison is under way."""
    body = await read_json(request, ReconcileRequest)
    billing = request.app[BILLING]
    if body.app_id is not None:
        billing.apps.app(body.app_id)
    if body.yes and not body.apply:
        raise InvalidInput("yes goes with apply only: there is nothing to confirm.")
    job_number = billing.reconciling.request(ReconcileOptions(body.app_id, body.apply, body.yes))
    return web.json_response({"job_number": job_number}, status=202)


async def show_reconcile(request: web.Request) -> web.Response:
    """The progress of the comparison; when done, its report or its error."""
    return web.json_response(request.app[BILLING].reconciling.shown())
