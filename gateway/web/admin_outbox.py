"""What LiteLLM must still be told."""

from __future__ import annotations

from aiohttp import web

from gateway.billing.provision.provision import renew_limits
from gateway.store import provisioning
from gateway.web.auth import require_operator
from gateway.web.context import BILLING


async def count_provisioning_jobs(request: web.Request) -> web.Response:
    """How many wishes wait, are done and are given up."""
    require_operator(request)
    return web.json_response(await request.app[BILLING].store.read(provisioning.counts))


async def renew(request: web.Request) -> web.Response:
    """Tell LiteLLM anew of every user whose limits there are not those of apps.json now; how many that are."""
    require_operator(request)
    return web.json_response({"renewed": await renew_limits(request.app[BILLING])}, status=202)


async def retry_provisioning_jobs(request: web.Request) -> web.Response:
    """Try every wish again that was given up, after its cause was mended."""
    require_operator(request)
    billing = request.app[BILLING]
    revived = await billing.store.write(lambda conn: provisioning.revive(conn, None, billing.now()))
    billing.provisioning_wanted.set()
    return web.json_response({"revived": revived})
