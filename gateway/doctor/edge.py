"""What must not be public: the gate's port, and paid files in Cloudflare's cache."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
from urllib.parse import urlsplit

from gateway.catalog.model import App
from gateway.doctor.context import CheckContext
from gateway.doctor.finding import Finding, bad, not_checked, ok, warning
from gateway.doctor.targets import Target, ask

PORT, CACHE = "gate port", "edge cache"
_LIVE = "skpay doctor --live"
_CONNECT_SECONDS = 3.0
_KEPT = ("HIT", "EXPIRED", "STALE", "UPDATING", "REVALIDATED")
"""Values of CF-Cache-Status of responses that Cloudflare caches; not DYNAMIC and BYPASS, and MISS only perhaps."""


async def examine_gate_port(context: CheckContext) -> list[Finding]:
    """If the secret leaks, any client that reaches the port can ask the gate; only Traefik needs to."""
    host, port = urlsplit(context.settings.public_url).hostname or "", context.settings.gate_port
    if not context.options.live:
        return [not_checked(PORT, f"{port} was not tried from outside", _LIVE)]
    if await _is_here(host):
        return [not_checked(PORT, f"{host} is this very machine, from which {port} is reached as it must be")]
    target = Target(f"http://{host}:{port}", f"{host}:{port}", direct=False)
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            answer = await ask(context, target, "/metrics", {})
    except TimeoutError:
        answer = "does not answer in time"
    if not isinstance(answer, str) and answer.error:
        return [bad(PORT, f"{host}:{port} answers from outside", f"publish no port {port}: take it out of `ports`")]
    return [ok(PORT, f"{host}:{port} is not reached from outside")]


async def _is_here(host: str) -> bool:
    if host.endswith(".localhost"):
        return True
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(ipaddress.ip_address(each[4][0]).is_loopback for each in found)


async def examine_cache(context: CheckContext) -> list[Finding]:
    """Cloudflare caches by file extension before Traefik is asked: a paid file would reach every visitor (T40)."""
    if not context.options.live:
        return [not_checked(CACHE, "was not checked", _LIVE)]
    hosts = [(app, host) for app in context.catalog.apps.values() for host in app.hosts]
    return list(await asyncio.gather(*(_host(context, app, host) for app, host in hosts)))


async def _host(context: CheckContext, app: App, host: str) -> Finding:
    """Request the same new name twice, with an extension that is cached by default."""
    subject = f"{CACHE} {host}"
    public = urlsplit(context.origin(app, host))
    target = Target(public.geturl(), public.netloc, direct=False)
    path = f"/skpayments-doctor-{secrets.token_hex(4)}.js"
    cache_status = ""
    for _ in range(2):
        answer = await ask(context, target, path, {})
        if isinstance(answer, str):
            return not_checked(subject, f"{target.base} {answer}")
        cache_status = answer.headers.get("CF-Cache-Status", "").upper()
    if cache_status in _KEPT or cache_status == "MISS":
        remedy = f"in Cloudflare's Cache Rules let {host} bypass the cache; which rule keeps it now?"
        if cache_status == "MISS":
            return warning(subject, "Cloudflare asks its cache first (CF-Cache-Status: MISS)", remedy)
        return bad(subject, f"Cloudflare answers without asking the gate (CF-Cache-Status: {cache_status})", remedy)
    return ok(
        subject, f"Cloudflare keeps nothing ({cache_status})" if cache_status else "no Cloudflare cache before it"
    )
