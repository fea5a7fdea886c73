"""What gate processes report to a main process."""

from __future__ import annotations

import asyncio

from aiohttp import web

from gateway.errors import TooMany
from gateway.metrics import CONTENT_TYPE
from gateway.web.bodies import read_json
from gateway.web.context import SITE
from gateway.web.models import FirstSeenRequest, GateReport

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


async def report(request: web.Request) -> web.Response:
    """Add the figures of a gate process to ours, and take note of the sessions that it verified."""
    request.app[SITE].gate_report(await read_json(request, GateReport))
    return web.json_response({})


async def metrics(request: web.Request) -> web.Response:
    """The figures of this process together with those of every gate process that reports to it."""
    return web.Response(body=request.app[SITE].metrics().encode(), headers={"Content-Type": CONTENT_TYPE})
