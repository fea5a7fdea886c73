"""Catalog → Plan: the routers, middlewares and services of each host, for all formats. Pure.

One router per host, each with the gate: path rules are applied by the gate, because Traefik drops a router whose
middleware is broken and the request falls through to the next one that matches.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from urllib.parse import quote, urlsplit

from gateway.catalog.identity.kind import request_headers
from gateway.catalog.identity.location import AUTHORIZATION, COOKIE, canonical_header
from gateway.catalog.model import App, Catalog, GateKind, Routing
from gateway.catalog.values import ascii_host
from gateway.errors import ConfigError
from gateway.routing.child_routers import child_routers_of
from gateway.routing.model import (
    INCOMING,
    PUBLIC,
    RELAY_URL,
    BodyLimit,
    ChildRouter,
    ClientHeaders,
    ForwardAuth,
    HostHeader,
    Middleware,
    Plan,
    Plugin,
    RateLimit,
    Router,
    Service,
    SourceCriterion,
    StripHeaders,
)
from gateway.routing.preflights import allows_preflights_of_refused_requests, preflight_rule
from gateway.routing.safety import public_host_conflicts, unsafe_values
from gateway.routing.spellings import any_of, every_spelling, other_spellings

# The headers that the gate reads of every request. It gets no others, except those that identity kinds read.
_ALWAYS_FORWARDED_HEADERS = ("Accept", "Origin", "Sec-Fetch-Mode", "Access-Control-Request-Method", "X-SK-Gate")
_METHOD_OVERRIDES = ("X-Http-Method-Override", "X-Http-Method", "X-Method-Override")
# LiteLLM reads keys from these as well, and the gate does not: the key could be another user's.
_LITELLM_ONLY_KEY_HEADERS = (
    "X-Litellm-Api-Key", "Api-Key", "X-Goog-Api-Key", "Ocp-Apim-Subscription-Key", "Litellm-User-Api-Key",
)  # fmt: skip


@dataclass(slots=True)
class _Parts:
    """A plan under construction."""

    routers: list[Router] = field(default_factory=list)
    children: list[ChildRouter] = field(default_factory=list)
    middlewares: list[Middleware] = field(default_factory=list)
    services: list[Service] = field(default_factory=list)


def plan(catalog: Catalog, public_url: str, gate: GateKind | None = None) -> Plan:
    """The routes of every app and of our own public listener at `public_url`'s host; `gate` instead of `routing.gate`.

    Raises `ConfigError` for values that would be unsafe in another program's configuration; a catalog from `parse` has
    none, except an app with our own host.
    """
    public_host = _public_host(public_url)
    routing = catalog.routing if gate is None else replace(catalog.routing, gate=gate)
    found = [*unsafe_values(catalog), *public_host_conflicts(catalog, public_host)]
    if found:
        raise ConfigError(found)
    parts = _Parts()
    if catalog.apps:
        parts.middlewares.append(ClientHeaders(INCOMING, sets_gate_secret=routing.gate == "forward_auth"))
    for app in catalog.apps.values():
        _add_app(parts, app, routing)
    _add_public(parts, public_host, routing)
    return Plan(
        routers=tuple(parts.routers),
        children=tuple(parts.children),
        middlewares=tuple(parts.middlewares),
        services=tuple(parts.services),
        routing=routing,
    )


def _add_app(parts: _Parts, app: App, routing: Routing) -> None:
    """A router for each host of the app, and the child routers below all of them."""
    gate = _gate(app, routing)
    service = Service(f"sk-app-{app.app_id}", app.upstream)
    # No app id has an underscore, so the name for a second host is not another app's.
    suffixes = [app.app_id if number == 1 else f"{app.app_id}_{number}" for number in range(1, len(app.hosts) + 1)]
    names = tuple(f"sk-app-{suffix}" for suffix in suffixes)
    below = child_routers_of(app, names, service.name, _client_address_criterion(routing))
    strip, after = _trusted_headers(app)
    before = (*(middleware.name for middleware in strip), *after)
    parts.middlewares += (*strip, gate)
    for name, suffix, host in zip(names, suffixes, app.hosts, strict=True):
        header = HostHeader(f"sk-host-{suffix}", host)
        parts.middlewares.append(header)
        chain = (*before, INCOMING, header.name, gate.name)
        leads_to = None if below.children else service.name
        parts.routers.append(Router(name, host, app.app_id, chain, leads_to, preflight_rule(app)))
    parts.children += below.children
    parts.middlewares += below.middlewares
    parts.services += (service, *below.services)


def _add_public(parts: _Parts, host: str, routing: Routing) -> None:
    """Our own router, the only one without a gate."""
    rate = RateLimit(f"{PUBLIC}-rate", average=100, burst=200, criterion=_client_address_criterion(routing))
    body = BodyLimit(f"{PUBLIC}-body", 2 * 1024 * 1024)
    parts.middlewares += (rate, body)
    parts.routers.append(Router(PUBLIC, host, None, (rate.name, body.name), PUBLIC))
    parts.services.append(Service(PUBLIC, routing.public_service_url))


def _client_address_criterion(routing: Routing) -> SourceCriterion:
    return "forwarded" if routing.trusted_ips else "peer"


def _gate(app: App, routing: Routing) -> ForwardAuth | Plugin:
    name = f"sk-gate-{app.app_id}"
    if routing.gate == "plugin":
        return Plugin(name, app.app_id, routing.gate_urls, request_headers(app.identity), _strip_pattern(app))
    address = f"{RELAY_URL if routing.gate_relay else routing.gate_urls[0]}/gate?app={quote(app.app_id, safe='')}"
    return ForwardAuth(
        name, app.app_id, address, (*request_headers(app.identity), *_ALWAYS_FORWARDED_HEADERS), _strip_pattern(app)
    )


def _strip_pattern(app: App) -> str:
    """The headers that the gate removes from client requests for this app, besides those for all apps: other spellings
    of the headers with credentials and, if access depends on the method, headers that override it (Rails, Laravel,
    Express, Flask and ASP.NET have such). It also does for preflights, which pass a paid path without a credential."""
    alone = (AUTHORIZATION, COOKIE)  # of one word, and no backend reads them from anything else
    patterns = [other_spellings(name) for name in request_headers(app.identity) if name not in alone]
    if any(route.methods for route in app.routes) or allows_preflights_of_refused_requests(app):
        patterns += map(every_spelling, _METHOD_OVERRIDES)
    if app.is_litellm:
        patterns += [
            every_spelling(name) for name in _LITELLM_ONLY_KEY_HEADERS if name not in request_headers(app.identity)
        ]
    return any_of(patterns)


def _trusted_headers(app: App) -> tuple[tuple[StripHeaders, ...], tuple[str, ...]]:
    """The first middlewares of an app with trusted headers: ours removes them from the client's request, then the
    operator's set them."""
    headers = app.trusted_headers
    if not headers:
        return (), ()
    # The gate removes their other spellings, which no middleware of the operator sets.
    names = dict.fromkeys(canonical_header(header.name) for header in headers)
    return (StripHeaders(f"sk-strip-{app.app_id}", tuple(names)),), tuple(
        dict.fromkeys(header.after for header in headers)
    )


def _public_host(public_url: str) -> str:
    """PUBLIC_URL's host in ASCII."""
    try:
        return ascii_host(urlsplit(public_url).hostname or "")
    except ValueError as exc:
        raise ConfigError([f"PUBLIC_URL: no host that Traefik could match: {exc}"]) from None
