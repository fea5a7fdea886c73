"""The API of the command line: the inbox of events."""

from __future__ import annotations

from aiohttp import web

from gateway.billing.events.operator_view import MAX_LISTED, replay, shown_event, whole_event
from gateway.store import inbox
from gateway.web.context import BILLING


async def list_events(request: web.Request) -> web.Response:
    """The newest events without their bodies, optionally of one app or user (`?app=…&user=…`)."""
    app_id, user_id = request.query.get("app"), request.query.get("user")
    found = await request.app[BILLING].work.read(lambda conn: inbox.recent(conn, MAX_LISTED, app_id, user_id))
    return web.json_response({"events": [shown_event(event) for event in found]})


async def show_event(request: web.Request) -> web.Response:
    """One event with its body as Stripe sent it; null after it was purged."""
    account, event_id = request.query.get("account", ""), request.match_info["event_id"]
    return web.json_response(await request.app[BILLING].work.read(lambda conn: whole_event(conn, account, event_id)))


async def replay_event(request: web.Request) -> web.Response:
    """Route a handled event as if it arrived now. Idempotent: it only requests a refresh."""
    billing = request.app[BILLING]
    account, event_id = request.query.get("account", ""), request.match_info["event_id"]
    await billing.work.write(lambda tx: replay(tx, account, event_id))
    return web.json_response({"replayed": event_id}, status=202)
