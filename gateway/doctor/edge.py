"""The public side of things that must stay inside: the gate's port, and paid files in Cloudflare's cache."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
from urllib.parse import urlsplit

from gateway.catalog.model import App
from gateway.doctor.finding import Finding, bad, not_asked, warning, well
from gateway.doctor.place import Place
from gateway.doctor.ways import Way, ask

PORT, CACHE = "gate port", "edge cache"
_LIVE = "skpay doctor --live"
_CONNECT_SECONDS = 3.0
_KEPT = ("HIT", "EXPIRED", "STALE", "UPDATING", "REVALIDATED")
"""Cloudflare has kept what these stand on. DYNAMIC and BYPASS it does not; MISS it might."""


async def examine_gate_port(place: Place) -> list[Finding]:
    """Whoever reaches it can ask the gate as Traefik does, if the secret leaks; nobody but Traefik needs to."""
    host, port = urlsplit(place.settings.public_url).hostname or "", place.settings.gate_port
    if not place.options.live:
        return [not_asked(PORT, f"{port} was not tried from outside", _LIVE)]
    if await _is_here(host):
        return [not_asked(PORT, f"{host} is this very machine, from which {port} is reached as it must be")]
    way = Way(f"http://{host}:{port}", f"{host}:{port}", straight=False)
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            answer = await ask(place, way, "/metrics", {})
    except TimeoutError:
        answer = "does not answer in time"
    if not isinstance(answer, str) and answer.error:
        return [bad(PORT, f"{host}:{port} answers from outside", f"publish no port {port}: take it out of `ports`")]
    return [well(PORT, f"{host}:{port} is not reached from outside")]


async def _is_here(host: str) -> bool:
    if host.endswith(".localhost"):
        return True
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(ipaddress.ip_address(each[4][0]).is_loopback for each in found)


async def examine_cache(place: Place) -> list[Finding]:
    """Cloudflare caches by the extension before Traefik is asked: one payer's file would be everybody's (T40)."""
    if not place.options.live:
        return [not_asked(CACHE, "was not looked for", _LIVE)]
    hosts = [(app, host) for app in place.catalog.apps.values() for host in app.hosts]
    return list(await asyncio.gather(*(_host(place, app, host) for app, host in hosts)))


async def _host(place: Place, app: App, host: str) -> Finding:
    """Twice the same name that nobody has asked for before, with an extension that is cached by default."""
    subject = f"{CACHE} {host}"
    public = urlsplit(place.origin(app, host))
    way = Way(public.geturl(), public.netloc, straight=False)
    path = f"/skpayments-doctor-{secrets.token_hex(4)}.js"
    told = ""
    for _ in range(2):
        answer = await ask(place, way, path, {})
        if isinstance(answer, str):
            return not_asked(subject, f"{way.base} {answer}")
        told = answer.headers.get("CF-Cache-Status", "").upper()
    if told in _KEPT or told == "MISS":
        remedy = f"in Cloudflare's Cache Rules let {host} bypass the cache; which rule keeps it now?"
        if told == "MISS":
            return warning(subject, "Cloudflare asks its cache first (CF-Cache-Status: MISS)", remedy)
        return bad(subject, f"Cloudflare answers without asking the gate (CF-Cache-Status: {told})", remedy)
    return well(subject, f"Cloudflare keeps nothing ({told})" if told else "no Cloudflare cache before it")
