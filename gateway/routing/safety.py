"""Values that would be unsafe in another program's configuration. Pure.

`parse` refuses all of them, except an app with our own host. A plan checks them itself, for catalogs made otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from gateway.catalog.model import Catalog
from gateway.catalog.values import (
    app_id_problem,
    ascii_host,
    host_problem,
    middleware_problem,
    network_problem,
    origin_problem,
    tier_id_problem,
    traefik_version_problem,
    trusted_header_problem,
)

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_PERIOD = re.compile(r"[1-9][0-9]{0,3}[smh]")


def public_host_conflicts(catalog: Catalog, public_host: str) -> Iterator[str]:
    """Hosts of apps that equal PUBLIC_URL's host."""
    for number, app in enumerate(catalog.apps.values()):
        for place, host in enumerate(app.hosts):
            if host == public_host:
                why = f"{host} is the host of PUBLIC_URL, which is reserved for SKPayments; use another host"
                yield f"apps.json: apps[{number}].hosts[{place}]: {why}"


def unsafe_values(catalog: Catalog) -> Iterator[str]:
    """Values that `parse` would refuse."""
    checks: list[tuple[str, str, Callable[[str], str | None]]] = []
    hosts: set[str] = set()
    for number, app in enumerate(catalog.apps.values()):
        checks.append((f"apps[{number}].id", app.app_id, app_id_problem))
        checks.append((f"apps[{number}].upstream", app.upstream, origin_problem))
        for place, kind in enumerate(app.identity):
            header = kind.trusted_header
            if header is not None:
                checks.append((f"apps[{number}].identity[{place}].name", header.name, trusted_header_problem))
                checks.append((f"apps[{number}].identity[{place}].after", header.after, middleware_problem))
        for tier in app.tiers:
            checks.append((f"apps[{number}].tiers[{tier.rank}].id", tier.tier_id, tier_id_problem))
            if tier.traffic is not None and tier.traffic.rate is not None:
                where = f"apps[{number}].tiers[{tier.rank}].traffic.rate.period"
                checks.append((where, tier.traffic.rate.period, _period_problem))
        for tier_id, url in app.tier_upstreams:
            checks.append((f"apps[{number}].upstream.{tier_id}", url, origin_problem))
            if app.tier(tier_id) is None:
                yield f"apps.json: apps[{number}].upstream: {tier_id!r} is no tier of this app"
        for place, host in enumerate(app.hosts):
            checks.append((f"apps[{number}].hosts[{place}]", host, _ready_host_problem))
            if host in hosts:
                yield f"apps.json: apps[{number}].hosts[{place}]: the same host stands there twice"
            hosts.add(host)
    routing = catalog.routing
    checks += [(f"routing.gate_url[{number}]", url, origin_problem) for number, url in enumerate(routing.gate_urls)]
    checks.append(("routing.public_service_url", routing.public_service_url, origin_problem))
    checks.append(("routing.traefik_url", routing.traefik_url, origin_problem))
    checks.append(("routing.traefik_version", routing.traefik_version, traefik_version_problem))
    checks += [("routing.trusted_ips", address, network_problem) for address in routing.trusted_ips]
    names = [*routing.entry_points, routing.network]
    names += [] if routing.cert_resolver is None else [routing.cert_resolver]
    checks += [("routing", name, _name_problem) for name in names]
    for where, value, problem_of in checks:
        problem = problem_of(value)
        if problem:
            yield f"apps.json: {where}: {problem}"


def _ready_host_problem(host: str) -> str | None:
    return host_problem(host) or (None if ascii_host(host) == host else "not in lower-case ASCII")


def _name_problem(name: str) -> str | None:
    return None if _PLAIN_NAME.fullmatch(name) else "a name may hold A-Z, a-z, 0-9, _ . and - only"


def _period_problem(period: str) -> str | None:
    return None if _PERIOD.fullmatch(period) else "a whole number and s, m or h"
