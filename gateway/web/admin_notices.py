"""The API of the command line: notices to apps."""

from __future__ import annotations

from aiohttp import web

from gateway.billing.accounts.users_page import check_app_filter
from gateway.billing.notify.operator_view import MAX_LISTED, replay, shown_notice
from gateway.errors import InvalidInput
from gateway.store import notices
from gateway.store.notices import STATES
from gateway.web.bodies import read_json
from gateway.web.context import BILLING
from gateway.web.models import ReplayRequest


async def list_notices(request: web.Request) -> web.Response:
    """The newest notices without their bodies, optionally of one app (`?app=`) or in one state (`?state=`)."""
    app_id, state = request.query.get("app"), request.query.get("state")
    if state is not None and state not in STATES:
        raise InvalidInput(f"state: expected one of {', '.join(STATES)}.")
    found = await request.app[BILLING].work.read(lambda conn: notices.recent(conn, MAX_LISTED, app_id, state))
    if not found:
        check_app_filter(request.app[BILLING].apps.catalog, app_id)
    return web.json_response({"notices": [shown_notice(notice) for notice in found]})


async def replay_notices(request: web.Request) -> web.Response:
    """Resend one notice under its id, or all dead ones."""
    body = await read_json(request, ReplayRequest)
    billing = request.app[BILLING]
    replayed = await billing.work.write(lambda tx: replay(tx, body.change_id, body.app_id, body.dead))
    return web.json_response({"replayed": replayed})
