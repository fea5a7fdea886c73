"""The API of the command line: provisioning jobs for LiteLLM."""

from __future__ import annotations

from aiohttp import web

from gateway.billing.provision.provision import renew_limits, revive_dead_jobs
from gateway.store import provisioning
from gateway.web.context import BILLING


async def count(request: web.Request) -> web.Response:
    """How many provisioning jobs are waiting, done and dead."""
    return web.json_response(await request.app[BILLING].work.read(provisioning.counts))


async def renew(request: web.Request) -> web.Response:
    """Add a provisioning job for each user with other limits at LiteLLM than in apps.json; how many."""
    return web.json_response(
        {"renewed": await renew_limits(request.app[BILLING].work, request.app[BILLING].apps)}, status=202
    )


async def retry(request: web.Request) -> web.Response:
    """Retry every dead provisioning job."""
    return web.json_response({"revived": await request.app[BILLING].work.write(revive_dead_jobs)})
