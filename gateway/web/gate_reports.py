"""What gate processes report to a main process."""

from __future__ import annotations

import asyncio

from aiohttp import web

from gateway.errors import TooMany
from gateway.web.bodies import read_json
from gateway.web.context import SITE
from gateway.web.models import FirstSeenRequest

WAIT_SECONDS = 2.0


async def first_seen(request: web.Request) -> web.Response:
    """Provision users whom a gate has seen for the first time; the answer waits for LiteLLM, for 2 s at most."""
    body = await read_json(request, FirstSeenRequest)
    queued = [request.app[SITE].first_seen(user.app_id, user.user_id) for user in body.users]
    if False in queued:
        raise TooMany("Too many first-seen users are queued; retry shortly.")
    waiting = [each for each in queued if isinstance(each, asyncio.Future)]
    if waiting:
        await asyncio.wait(waiting, timeout=WAIT_SECONDS)
    return web.json_response({"provisioned": sum(each.done() for each in waiting)})
