"""Catalog → Plan: which host goes where through what, said once for all renderings. Pure.

One router per host, each with the gate: path rules live in the gate, because Traefik drops a router whose middleware
is broken and the request falls through to the next one that matches.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from gateway.catalog.identity_headers import canonical, request_headers
from gateway.catalog.model import App, Catalog, HeaderIdentity
from gateway.catalog.values import (
    app_id_problem,
    ascii_host,
    host_problem,
    middleware_problem,
    origin_problem,
    trusted_header_problem,
)
from gateway.errors import ConfigError

# Over any default rule of Traefik's (their priority is the rule's length).
PRIORITY = 1000
INCOMING = "sk-in"
PUBLIC = "sk-public"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")

# What the gate reads of every request; all else a client sends stays away from it, except what identity kinds read.
_HEADERS_OF_ALL = ("Accept", "Origin", "Sec-Fetch-Mode", "Access-Control-Request-Method", "X-SK-Gate")


@dataclass(frozen=True, slots=True)
class Incoming:
    """First on every gated router: proves Traefik to the gate and takes away what a client says about its request."""

    name: str


@dataclass(frozen=True, slots=True)
class Strip:
    """Takes away what a client sends under the name of a header that a middleware of the operator's will set (T30)."""

    name: str
    headers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HostHeader:
    """Sets X-Forwarded-Host to the router's one host: behind a trusted tunnel the client's own would get through."""

    name: str
    host: str


@dataclass(frozen=True, slots=True)
class Gate:
    """ForwardAuth to the gate; which app it is stands in the address, where no client can touch it."""

    name: str
    app_id: str
    address: str
    request_headers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Requests a second from one address, and how many at once above that."""

    name: str
    average: int
    burst: int


@dataclass(frozen=True, slots=True)
class BodyLimit:
    name: str
    max_bytes: int


Middleware = Incoming | Strip | HostHeader | Gate | RateLimit | BodyLimit


@dataclass(frozen=True, slots=True)
class Router:
    """`app_id` None is our own public router, the one without a gate. `middlewares` are names, in order."""

    name: str
    host: str
    app_id: str | None
    middlewares: tuple[str, ...]
    service: str


@dataclass(frozen=True, slots=True)
class Service:
    name: str
    url: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything in the order of apps.json, our own last. Its names, hosts and URLs are safe in any rendering."""

    routers: tuple[Router, ...]
    middlewares: tuple[Middleware, ...]
    services: tuple[Service, ...]
    entry_points: tuple[str, ...]
    cert_resolver: str | None
    network: str
    traefik_url: str

    def of(self, app_id: str | None) -> tuple[Router, ...]:
        """The routers of one app, or our own for None. Raises `ConfigError` for an app that is not there."""
        routers = tuple(router for router in self.routers if router.app_id == app_id)
        if not routers:
            raise ConfigError([f"no app {app_id!r} in apps.json"])
        return routers


def plan(catalog: Catalog, public_url: str) -> Plan:
    """The routes of every app and of our own public listener at `public_url`'s host.

    Raises `ConfigError` with everything that must not reach another program's configuration; a catalog from `parse`
    has none of it, except an app that claims our own host.
    """
    public_host = _public_host(public_url)
    problems = [*_problems(catalog), *_claims(catalog, public_host)]
    if problems:
        raise ConfigError(problems)
    routers: list[Router] = []
    middlewares: list[Middleware] = [Incoming(INCOMING)] if catalog.apps else []
    services: list[Service] = []
    for app in catalog.apps.values():
        gate = _gate(app, catalog.routing.gate_url)
        strip, after = _trusted_headers(app)
        before = (*(middleware.name for middleware in strip), *after)
        service = Service(f"sk-app-{app.app_id}", app.upstream)
        middlewares += [*strip, gate]
        services.append(service)
        for number, host in enumerate(app.hosts, 1):
            # No app id has an underscore, so a second host's name is no other app's.
            suffix = app.app_id if number == 1 else f"{app.app_id}_{number}"
            header = HostHeader(f"sk-host-{suffix}", host)
            middlewares.append(header)
            chain = (*before, INCOMING, header.name, gate.name)
            routers.append(Router(f"sk-app-{suffix}", host, app.app_id, chain, service.name))
    ours = (RateLimit(f"{PUBLIC}-rate", average=100, burst=200), BodyLimit(f"{PUBLIC}-body", 2 * 1024 * 1024))
    chain_names = tuple(middleware.name for middleware in ours)
    routers.append(Router(PUBLIC, public_host, None, chain_names, PUBLIC))
    routing = catalog.routing
    return Plan(
        routers=tuple(routers),
        middlewares=(*middlewares, *ours),
        services=(*services, Service(PUBLIC, routing.public_service_url)),
        entry_points=routing.entry_points,
        cert_resolver=routing.cert_resolver,
        network=routing.network,
        traefik_url=routing.traefik_url,
    )


def _gate(app: App, gate_url: str) -> Gate:
    address = f"{gate_url}/gate?app={quote(app.app_id, safe='')}"
    return Gate(f"sk-gate-{app.app_id}", app.app_id, address, (*request_headers(app), *_HEADERS_OF_ALL))


def _trusted_headers(app: App) -> tuple[tuple[Strip, ...], tuple[str, ...]]:
    """What stands before everything else where an app trusts headers: first they are taken from the client, then the
    operator's own middlewares set them."""
    kinds = [kind for kind in app.identity if isinstance(kind, HeaderIdentity)]
    if not kinds:
        return (), ()
    # To a CGI or WSGI backend Remote_User is Remote-User.
    names = dict.fromkeys(
        name for kind in kinds for name in (canonical(kind.name), canonical(kind.name).replace("-", "_"))
    )
    return (Strip(f"sk-strip-{app.app_id}", tuple(names)),), tuple(dict.fromkeys(kind.after for kind in kinds))


def _public_host(public_url: str) -> str:
    """PUBLIC_URL's host in ASCII."""
    try:
        return ascii_host(urlsplit(public_url).hostname or "")
    except ValueError as exc:
        raise ConfigError([f"PUBLIC_URL: no host that Traefik could match: {exc}"]) from None


def _claims(catalog: Catalog, public_host: str) -> Iterator[str]:
    for number, app in enumerate(catalog.apps.values()):
        for place, host in enumerate(app.hosts):
            if host == public_host:
                yield f"apps.json: apps[{number}].hosts[{place}]: {host} is PUBLIC_URL's host, which is ours alone"


def _problems(catalog: Catalog) -> Iterator[str]:
    """What `parse` has refused already, asked again: a plan must be safe whoever made the catalog."""
    checks: list[tuple[str, str, Callable[[str], str | None]]] = []
    hosts: set[str] = set()
    for number, app in enumerate(catalog.apps.values()):
        checks.append((f"apps[{number}].id", app.app_id, app_id_problem))
        checks.append((f"apps[{number}].upstream", app.upstream, origin_problem))
        for place, kind in enumerate(app.identity):
            if isinstance(kind, HeaderIdentity):
                checks.append((f"apps[{number}].identity[{place}].name", kind.name, trusted_header_problem))
                checks.append((f"apps[{number}].identity[{place}].after", kind.after, middleware_problem))
        for place, host in enumerate(app.hosts):
            checks.append((f"apps[{number}].hosts[{place}]", host, _ready_host_problem))
            if host in hosts:
                yield f"apps.json: apps[{number}].hosts[{place}]: the same host stands there twice"
            hosts.add(host)
    routing = catalog.routing
    urls = {"gate_url": routing.gate_url, "public_service_url": routing.public_service_url}
    checks += [(f"routing.{key}", url, origin_problem) for key, url in urls.items()]
    checks.append(("routing.traefik_url", routing.traefik_url, origin_problem))
    names = [*routing.entry_points, routing.network, routing.cert_resolver or "none"]
    checks += [("routing", name, _name_problem) for name in names]
    for where, value, problem_of in checks:
        problem = problem_of(value)
        if problem:
            yield f"apps.json: {where}: {problem}"


def _ready_host_problem(host: str) -> str | None:
    return host_problem(host) or (None if ascii_host(host) == host else "not in lower-case ASCII")


def _name_problem(name: str) -> str | None:
    return None if _PLAIN_NAME.fullmatch(name) else "a name may hold A-Z, a-z, 0-9, _ . and - only"
