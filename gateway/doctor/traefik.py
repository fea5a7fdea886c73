"""Reads all routes from Traefik's API, and finds ways past the gate."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import socket
from collections.abc import Iterator, Sequence
from typing import Any, get_args
from urllib.parse import urlsplit

from gateway.catalog.model import App, Catalog, GateKind
from gateway.doctor.bypass import Expected, expected_chains, find_bypasses
from gateway.doctor.chains import SECRET, Json, Traefik, address_of
from gateway.doctor.context import CheckContext
from gateway.doctor.finding import Finding, bad, not_checked, ok, warning
from gateway.errors import UpstreamFailed
from gateway.routing import plan, traefik_document

SUBJECT, ENTRY_POINTS = "traefik", "traefik: entry points"
OLDEST = (3, 7, 13)
"""Older versions have known vulnerabilities around ForwardAuth."""
_MOST = 100_000
_WHOLE_NETWORK = 2**16


async def examine_traefik(context: CheckContext) -> list[Finding]:
    api = context.options.traefik_api
    if api is None:
        return [
            not_checked(
                SUBJECT,
                "its routers were not checked",
                "say where its API is, which is never published: skpay doctor --traefik-api http://traefik:8080",
            )
        ]
    found = await _read(context, api.rstrip("/"))
    expected = await _expected(context)
    return [_version(found.version), *_entry_points(found, context.catalog), *find_bypasses(found, expected)]


async def _read(context: CheckContext, api: str) -> Traefik:
    async def ask(path: str) -> Any:
        # With the gate's secret, so that an API router may require it; Traefik has it anyway.
        headers = {"X-SK-Gate": context.settings.gate_secret[0].reveal()}
        async with context.session.get(f"{api}/api/{path}", headers=headers, allow_redirects=False) as response:
            if response.status != 200:
                raise UpstreamFailed(f"Traefik's API answered {response.status} to /api/{path.partition('?')[0]}.")
            return await response.json(content_type=None)

    kinds = ("http/routers", "http/middlewares", "http/services", "tcp/routers", "tcp/services", "entrypoints")
    version = await ask("version")
    if not isinstance(version, dict) or "Version" not in version:
        raise UpstreamFailed("What answers there is not Traefik's API.")
    lists = await asyncio.gather(*(ask(f"{kind}?per_page={_MOST}") for kind in kinds))
    routers, middlewares, services, tcp_routers, tcp_services, entry_points = map(_by_name, lists)
    return Traefik(
        version=str(version["Version"]),
        routers={name: each for name, each in routers.items() if each.get("provider") != "internal"},
        middlewares=middlewares,
        services=services,
        tcp_routers=tcp_routers,
        tcp_services=tcp_services,
        entry_points=entry_points,
    )


def _by_name(listed: Any) -> dict[str, Json]:
    if not isinstance(listed, list):
        raise UpstreamFailed("What answers there is not Traefik's API.")
    return {str(each.get("name")): each for each in listed if isinstance(each, dict)}


async def _expected(context: CheckContext) -> Expected:
    catalog, settings = context.catalog, context.settings
    # `skpay routes write --gate` may have named another kind than apps.json.
    documents = [traefik_document(plan(catalog, settings.public_url, kind), SECRET) for kind in get_args(GateKind)]
    apps = catalog.apps.values()
    hosts = {host: app.app_id for app in apps for host in app.hosts}
    servers = await asyncio.gather(*(_spellings(app) for app in apps))
    return Expected(
        hosts=hosts,
        chains=[expected_chains(document, hosts) for document in documents],
        upstreams=dict(zip(catalog.apps, servers, strict=True)),
        public_host=urlsplit(settings.public_url).hostname or "",
        gates=frozenset(urlsplit(url).netloc for url in catalog.routing.gate_urls),
        secrets=tuple(secret.reveal() for secret in settings.gate_secret),
        entry_points=catalog.routing.entry_points,
        sign_in={app.app_id: [header.after for header in app.trusted_headers] for app in apps},
    )


async def _spellings(app: App) -> frozenset[str]:
    """An app's servers by name and by every address that the names resolve to here."""
    spellings: set[str] = set()
    for upstream in (app.upstream, *(url for _, url in app.tier_upstreams)):
        address = address_of(upstream)
        spellings.add(address)
        name, _, port = address.rpartition(":")
        with contextlib.suppress(OSError):
            found = await asyncio.get_running_loop().getaddrinfo(name, int(port), type=socket.SOCK_STREAM)
            spellings |= {f"{each[4][0]}:{port}" for each in found}
    return frozenset(spellings)


def _version(text: str) -> Finding:
    numbers = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text)
    if numbers is None:
        return warning(SUBJECT, f"answers; its version {text[:40]!r} cannot be read", "run 3.7.13 or newer")
    oldest = ".".join(map(str, OLDEST))
    if tuple(map(int, numbers.groups())) < OLDEST:
        return warning(SUBJECT, f"{text} has known holes around ForwardAuth", f"update Traefik to {oldest} or newer")
    return ok(SUBJECT, f"{text} answers")


def _entry_points(found: Traefik, catalog: Catalog) -> list[Finding]:
    """The peers whose X-Forwarded headers an entry point trusts."""
    routing = catalog.routing
    findings = [finding for name in routing.entry_points for finding in _entry_point(found, name, routing.trusted_ips)]
    names = ", ".join(routing.entry_points)
    return findings or [ok(ENTRY_POINTS, f"{names}: trust forwarded headers only from routing.trusted_ips")]


def _entry_point(found: Traefik, name: str, configured: Sequence[str]) -> Iterator[Finding]:
    entry_point = found.entry_points.get(name)
    if entry_point is None:
        yield bad(ENTRY_POINTS, f"Traefik has no entry point {name!r}", "fix routing.entry_points in apps.json")
        return
    forwarded = entry_point.get("forwardedHeaders") or {}
    if forwarded.get("insecure"):
        remedy = f"entryPoints.{name}.forwardedHeaders: name cloudflared's address in trustedIPs instead of insecure"
        yield bad(ENTRY_POINTS, f"{name}: trusts X-Forwarded headers of every peer (insecure)", remedy)
    trusted_ips = [str(each) for each in forwarded.get("trustedIPs") or ()]
    if {_network(each) for each in trusted_ips} != {_network(each) for each in configured}:
        line = f"{name}: trusts {', '.join(trusted_ips) or 'nobody'}, apps.json {', '.join(configured) or 'nobody'}"
        remedy = (
            "make routing.trusted_ips what Traefik has in trustedIPs: rate limits go by it; then skpay routes write"
        )
        yield warning(ENTRY_POINTS, line, remedy)
    for trusted in trusted_ips:
        network = _network(trusted)
        if not isinstance(network, str) and network.num_addresses >= _WHOLE_NETWORK:
            remedy = f"entryPoints.{name}.forwardedHeaders.trustedIPs: the tunnel's address alone, as 172.20.0.5/32"
            yield warning(ENTRY_POINTS, f"{name}: trusts the whole network {trusted}", remedy)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | str:
    """In one spelling; unchanged if it cannot be parsed."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return text
