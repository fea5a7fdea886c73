"""The keys with which an app verifies X-SK-Assertion."""

from __future__ import annotations

from aiohttp import web

from gateway.web.context import SITE

# Verifiers reload the key set for an unknown `kid`, so a cached one does no harm.
_CACHEABLE = {"Cache-Control": "public, max-age=300"}


async def key_set(request: web.Request) -> web.Response:
    """The public keys of assertions (JWKS), cacheable for five minutes."""
    jwks = request.app[SITE].jwks()
    # An empty one is not cacheable: it changes as soon as the first app wants assertions.
    return web.json_response(jwks, headers=_CACHEABLE if jwks["keys"] else None)
