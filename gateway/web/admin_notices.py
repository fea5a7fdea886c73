"""What apps were told, and telling them again; what the command line does to a running server."""

from __future__ import annotations

from aiohttp import web
from sqlalchemy import Connection

from gateway.errors import InvalidInput
from gateway.store import notices
from gateway.store.notices import STATES, Notice
from gateway.web.admin_users import require_app
from gateway.web.auth import require_operator
from gateway.web.bodies import read_json
from gateway.web.context import BILLING
from gateway.web.models import ReplayRequest

MAX_LISTED = 200


async def list_notices(request: web.Request) -> web.Response:
    """The newest notices without their text, of one app (`?app=`) or in one state (`?state=`)."""
    require_operator(request)
    app_id, state = request.query.get("app"), request.query.get("state")
    if state is not None and state not in STATES:
        raise InvalidInput(f"state: expected one of {', '.join(STATES)}.")
    found = await request.app[BILLING].store.read(lambda conn: notices.recent(conn, MAX_LISTED, app_id, state))
    if not found:
        require_app(request.app[BILLING].catalog, app_id)
    return web.json_response({"notices": [shown_notice(notice) for notice in found]})


async def replay_notices(request: web.Request) -> web.Response:
    """Send one notice again under its id, or all that were given up."""
    require_operator(request)
    wanted = await read_json(request, ReplayRequest)
    billing = request.app[BILLING]
    replayed = await billing.store.write(
        lambda conn: replay(conn, wanted.change_id, wanted.app_id, wanted.dead, billing.now())
    )
    billing.notice_written.set()
    return web.json_response({"replayed": replayed})


def replay(conn: Connection, change_id: str | None, app_id: str | None, dead: bool, now: int) -> int:
    """How many are sent again: one by its change id, or with `dead` all that were given up, of this app or of all.

    Raises `InvalidInput` unless it is one or the other, `NotFound`.
    """
    if (change_id is not None) == dead or (change_id is not None and app_id is not None):
        raise InvalidInput("Name one change_id, or say dead, with an app_id or without.", code="replay_what")
    if change_id is None:
        return notices.replay_dead(conn, app_id, now)
    notices.replay(conn, change_id, now)
    return 1


def shown_notice(notice: Notice) -> dict[str, object]:
    """A notice without its text."""
    names = ("change_id", "app_id", "user_id", "state", "attempts", "last_status", "error", "due_at", "created_at")
    return {**{name: getattr(notice, name) for name in names}, "done_at": notice.done_at}
