"""Reconcile for the operator: asked for here, done by the server's own loop, looked at here."""

from __future__ import annotations

from aiohttp import web

from gateway.billing.reconcile.state import ReconcileOptions
from gateway.errors import InvalidInput
from gateway.web.bodies import read_json
from gateway.web.context import BILLING
from gateway.web.models import ReconcileRequest


async def start_reconcile(request: web.Request) -> web.Response:
    """Start comparing Stripe, store and LiteLLM; 409 while a comparison is under way."""
    wanted = await read_json(request, ReconcileRequest)
    billing = request.app[BILLING]
    if wanted.app_id is not None:
        billing.app(wanted.app_id)
    if wanted.yes and not wanted.apply:
        raise InvalidInput("yes goes with apply only: there is nothing to confirm.")
    job_number = billing.reconciling.ask(ReconcileOptions(wanted.app_id, wanted.apply, wanted.yes))
    return web.json_response({"job_number": job_number}, status=202)


async def show_reconcile(request: web.Request) -> web.Response:
    """How far the comparison is; once it is done its report, or why there is none."""
    return web.json_response(request.app[BILLING].reconciling.shown())
