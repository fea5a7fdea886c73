"""Lookups of `openwebui`: asking Open WebUI for the user of a session or an API key; only it knows what it revoked."""

from __future__ import annotations

import json

import aiohttp
from yarl import URL

from gateway.access.authentication import NOT_ACTIVATED, AuthenticatedUser, CredentialLookup
from gateway.access.identity.openwebui import API_KEY_START, OpenWebUIVerifier
from gateway.access.introspection_cache import refusal
from gateway.app.bounded_body import read_at_most
from gateway.app.identity.services import LookupServices
from gateway.errors import UpstreamFailed

# The answer may contain a profile picture.
_MAX_BODY_BYTES = 1024 * 1024


async def look_up(services: LookupServices, verifier: OpenWebUIVerifier, lookup: CredentialLookup) -> AuthenticatedUser:
    user_id, role = await _introspect(services.session, verifier.introspect or "", lookup.credential)
    return verifier.confirm(lookup.credential, user_id, services.now(), role)


async def _introspect(session: aiohttp.ClientSession, base_url: str, credential: bytes) -> tuple[object, str]:
    """Open WebUI's (0.12.4) id of the user, and the user's role. Raises `NotAuthenticated` for an invalid credential
    and `UpstreamFailed` for any unexpected answer.

    A session is sent as a Bearer even where it came as a cookie: Open WebUI treats both alike. API keys are sent to
    another route, since this one refuses them.
    """
    api_key = credential.startswith(API_KEY_START)
    path = "/api/v1/users/user/status" if api_key else "/api/v1/auths/"
    status, body = await _get(session, base_url + path, credential.decode("ascii"))
    if status == 401:
        raise refusal("unknown_key" if api_key else "revoked")
    if status == 403:
        # API keys are off, are not for this route, or Open WebUI's user status is.
        raise refusal("api_key_unsupported" if api_key else "revoked")
    try:
        row = json.loads(body) if status == 200 else None
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict) or not isinstance(row.get("role"), str):
        raise UpstreamFailed("Open WebUI sent an unexpected answer.", status=status, detail=path)
    if row["role"] == "pending":
        raise refusal(NOT_ACTIVATED)
    return row.get("id"), row["role"]


async def _get(session: aiohttp.ClientSession, url: str, credential: str) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {credential}"}
    try:
        async with session.get(URL(url), headers=headers, allow_redirects=False) as response:
            return response.status, await read_at_most(response, _MAX_BODY_BYTES)
    except TimeoutError as exc:
        raise UpstreamFailed("Open WebUI did not answer in time.") from exc
    except (aiohttp.ClientError, OSError) as exc:
        raise UpstreamFailed("Open WebUI could not be reached.", detail=type(exc).__name__) from exc
