"""Asking Open WebUI whose a session or an API key is: it alone knows what it has ended."""

from __future__ import annotations

import json

import aiohttp
from yarl import URL

from gateway.access.authentication import NOT_ACTIVATED
from gateway.access.introspection_cache import refusal
from gateway.access.openwebui import API_KEY_START
from gateway.errors import UpstreamFailed

# A profile picture may stand in the answer.
_MAX_BODY_BYTES = 1024 * 1024


async def introspect(session: aiohttp.ClientSession, base_url: str, credential: bytes) -> tuple[object, str]:
    """What Open WebUI (0.12.4) calls its user, and the user's role. Raises `NotAuthenticated` if it is nobody's, and
    `UpstreamFailed` for anything that is no answer to the question.

    A session is shown as a Bearer even where it came as a cookie, which is the same to Open WebUI. API keys are told
    of by another route, as this one wants a person.
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
        raise UpstreamFailed("Open WebUI's answer is not what it answers.", status=status, detail=path)
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


async def read_at_most(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """The body. Raises `UpstreamFailed` if it is larger."""
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > max_bytes:
            raise UpstreamFailed(f"An answer is larger than {max_bytes >> 10} KiB.", status=response.status)
    return bytes(data)
