"""Calls to Cloudflare's API: one request, its envelope checked, its errors translated, its pages put together.

Every answer is `{"success", "errors": [{"code", "message"}], "messages", "result"}`, of refusals, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import aiohttp

from gateway.errors import Conflict, UpstreamFailed
from gateway.settings import Secret
from gateway.urls import api_path, api_query, api_url

API_BASE = "https://api.cloudflare.com/client/v4"
_TIMEOUT = aiohttp.ClientTimeout(total=20, sock_connect=5)
_MAX_ANSWER_BYTES = 4 * 1024 * 1024
_MAX_DETAIL = 300
_RETRYABLE_STATUSES = frozenset({408, 425, 429})
_HINTS = {
    400: "Cloudflare refused the request.",
    401: "Cloudflare does not accept the API token.",
    429: "Cloudflare wants fewer requests.",
}
_TUNNEL_HINTS = {
    403: "The API token may not do this; it needs Account > Cloudflare Tunnel > Edit.",
    404: "Cloudflare knows no such tunnel in this account.",
}
_DNS_HINTS = {
    403: "The API token may not do this; it needs Zone > Zone > Read and Zone > DNS > Edit, or leave DNS out: --no-dns",
    404: "Cloudflare knows no such zone.",
}
_ZONES_PER_PAGE = 50  # the most it gives
_RECORDS_PER_PAGE = 1000
_MAX_PAGES = 200

Json = dict[str, Any]


class Cloudflare:
    """Cloudflare with one API token. Every method raises `UpstreamFailed`; every one may be repeated."""

    def __init__(self, session: aiohttp.ClientSession, token: Secret, *, api_base: str = API_BASE) -> None:
        self._session = session
        self._token = token
        self._api_base = api_base.rstrip("/")

    async def tunnel_configuration(self, account_id: str, tunnel_id: str) -> Json:
        """The whole `config` of a tunnel; empty if it never had one.

        Raises `Conflict` for a tunnel that is managed by cloudflared's own file: the API's configuration has no effect
        on it. An answer of any other shape is refused, since what is read here is written back.
        """
        result = _object((await self._request("GET", _path(account_id, tunnel_id), None)).get("result"))
        if result.get("source") == "local":
            raise Conflict("This tunnel takes its rules from cloudflared's config.yml, not from Cloudflare.")
        return _config(result, tunnel_id)

    async def put_tunnel_configuration(self, account_id: str, tunnel_id: str, config: Mapping[str, Any]) -> Json:
        """Replace the tunnel's whole `config`, with the rules of others; returns Cloudflare's new one."""
        answer = await self._request("PUT", _path(account_id, tunnel_id), {"config": config})
        return _config(_object(answer.get("result")), tunnel_id)

    async def zones(self) -> dict[str, str]:
        """The ids of all zones that the token may see, by name."""
        found = await self._pages("/zones", _ZONES_PER_PAGE)
        return {str(zone.get("name")).lower(): str(zone.get("id")) for zone in found}

    async def dns_records(self, zone_id: str) -> list[Json]:
        """All records of a zone."""
        return await self._pages(api_path("zones", zone_id, "dns_records"), _RECORDS_PER_PAGE)

    async def create_dns_record(self, zone_id: str, record: Mapping[str, Any]) -> None:
        """Not idempotent: Cloudflare refuses a second record."""
        await self._request("POST", api_path("zones", zone_id, "dns_records"), record, _DNS_HINTS)

    async def update_dns_record(self, zone_id: str, record_id: str, change: Mapping[str, Any]) -> None:
        """Change only these fields of a record."""
        path = api_path("zones", zone_id, "dns_records", record_id)
        await self._request("PATCH", path, change, _DNS_HINTS)

    async def _pages(self, path: str, per_page: int) -> list[Json]:
        """Every page of a list; Cloudflare may make pages smaller than requested."""
        found: list[Json] = []
        for page in range(1, _MAX_PAGES + 1):
            answer = await self._request("GET", path, None, _DNS_HINTS, {"page": page, "per_page": per_page})
            result, info = answer.get("result"), answer.get("result_info")
            total = info.get("total_count") if isinstance(info, dict) else None
            if not isinstance(result, list) or not all(isinstance(item, dict) for item in result):
                raise _unusable("expected a list")
            if not isinstance(total, int):
                raise _unusable("expected the number of all in the list")
            found += result
            if not result or len(found) >= total:
                return found
        raise UpstreamFailed(f"Cloudflare's list has more than {_MAX_PAGES} pages.", retryable=False, detail=path)

    async def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        hints: Mapping[int, str] = _TUNNEL_HINTS,
        query: Mapping[str, int] = MappingProxyType({}),
    ) -> Json:
        try:
            async with self._session.request(
                method,
                api_url(self._api_base, path, api_query((name, str(value)) for name, value in query.items())),
                json=body,
                headers={"Authorization": f"Bearer {self._token.reveal()}"},
                timeout=_TIMEOUT,
                allow_redirects=False,
            ) as response:
                return self._result(response, await _read(response), {**_HINTS, **hints})
        except TimeoutError as exc:
            raise UpstreamFailed("Cloudflare did not answer in time.", detail=method) from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise UpstreamFailed("Cloudflare cannot be reached.", detail=f"{type(exc).__name__} {method}") from exc

    def _result(self, response: aiohttp.ClientResponse, raw: bytes, hints: Mapping[int, str]) -> Json:
        """An answer with both a status of success and `success: true`."""
        status, ray = response.status, response.headers.get("Cf-Ray", "")
        if 300 <= status < 400:
            raise UpstreamFailed(
                "Cloudflare's address answers with a redirect.",
                code="cloudflare_refused",
                retryable=False,
                status=status,
            )
        try:
            envelope = json.loads(raw)
        except (ValueError, RecursionError) as exc:
            raise UpstreamFailed("Cloudflare's answer is not JSON.", status=status, detail=f"{status} {ray}") from exc
        if not isinstance(envelope, dict):
            raise _unusable(f"{status} {ray}")
        if status == 200 and envelope.get("success") is True:
            return envelope
        retryable = status in _RETRYABLE_STATUSES or status >= 500
        raise UpstreamFailed(
            hints.get(status, "Cloudflare has trouble of its own." if status >= 500 else _HINTS[400]),
            code=None if retryable else "cloudflare_refused",
            retryable=retryable,
            status=status,
            detail=self._without_token(f"{status} {_reasons(envelope)} {ray}".strip())[:_MAX_DETAIL],
        )

    def _without_token(self, text: str) -> str:
        return text.replace(self._token.reveal(), "********")


def _path(account_id: str, tunnel_id: str) -> str:
    return api_path("accounts", account_id, "cfd_tunnel", tunnel_id, "configurations")


def _object(result: Any) -> Json:
    if not isinstance(result, dict):
        raise _unusable("expected an object")
    return result


def _config(result: Json, tunnel_id: str) -> Json:
    """`result.config`, if it is one, and this tunnel's."""
    config = result.get("config") or {}
    rules = config.get("ingress") or [] if isinstance(config, dict) else None
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise _unusable("config is no configuration")
    if result.get("tunnel_id", tunnel_id) != tunnel_id:
        raise _unusable("it is another tunnel's")
    return dict(config)


def _reasons(envelope: Json) -> str:
    """`1056: Bad Configuration …`, with the chain of causes where there is one."""
    errors = envelope.get("errors")
    found = [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
    chained = [cause for error in found for cause in error.get("error_chain") or () if isinstance(cause, dict)]
    return "; ".join(f"{error.get('code')}: {error.get('message')}" for error in (*found, *chained))


async def _read(response: aiohttp.ClientResponse) -> bytes:
    chunks = bytearray()
    async for chunk in response.content.iter_chunked(65536):
        chunks += chunk
        if len(chunks) > _MAX_ANSWER_BYTES:
            raise UpstreamFailed("Cloudflare answered more than 4 MiB.", status=response.status)
    return bytes(chunks)


def _unusable(detail: str) -> UpstreamFailed:
    return UpstreamFailed("Cloudflare's answer is not what this route answers.", detail=detail)
