"""The keys with which an app verifies X-SK-Assertion."""

from __future__ import annotations

from aiohttp import web

from gateway.web.context import SITE

# Verifiers ask anew for a `kid` that they do not know, so this only spares them the usual asking.
_CACHEABLE = {"Cache-Control": "public, max-age=300"}


async def key_set(request: web.Request) -> web.Response:
    """The public keys of assertions (JWKS); to be kept for five minutes."""
    jwks = request.app[SITE].jwks()
    # An empty one is over when the first app wants assertions; nobody should miss that for five minutes.
    return web.json_response(jwks, headers=_CACHEABLE if jwks["keys"] else None)
