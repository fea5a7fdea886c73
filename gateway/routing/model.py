"""The plan: routers, middlewares and services. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from gateway.catalog.model import Routing
from gateway.errors import ConfigError

INCOMING = "sk-in"
PUBLIC = "sk-public"
RELAY = "sk-gate"
RELAY_ADDRESS = "127.0.0.1:8083"
RELAY_URL = f"http://{RELAY_ADDRESS}"
"""The entry point on Traefik's loopback through which ForwardAuth calls the gate (docs/adr, `gate_relay`)."""
PLUGIN = "skpayments"
"""The name of our plugin in Traefik's static configuration."""


@dataclass(frozen=True, slots=True)
class ClientHeaders:
    """First on every gated router: removes headers that clients must not set and, unless the gate's own middleware
    does, adds the secret that authenticates Traefik to the gate."""

    name: str
    sets_gate_secret: bool = True


@dataclass(frozen=True, slots=True)
class StripHeaders:
    """Removes the client's values of trusted headers before the operator's middleware sets them (T30)."""

    name: str
    headers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HostHeader:
    """Sets X-Forwarded-Host to the router's host: behind a trusted tunnel the client's value would be passed on."""

    name: str
    host: str


@dataclass(frozen=True, slots=True)
class ForwardAuth:
    """ForwardAuth to the gate; the app is named in the address, which no client can change. `strip_pattern` matches the
    header names that are removed from client requests for this app alone; empty for none."""

    name: str
    app_id: str
    address: str
    request_headers: tuple[str, ...]
    strip_pattern: str


@dataclass(frozen=True, slots=True)
class Plugin:
    """The gate through our plugin, which calls it at the first of `gate_urls` that answers, and caches answers by these
    request headers. `strip_pattern` as in `ForwardAuth`."""

    name: str
    app_id: str
    gate_urls: tuple[str, ...]
    identity_headers: tuple[str, ...]
    strip_pattern: str


SourceCriterion = Literal["user", "peer", "forwarded"]
"""By what requests are counted: the user that the gate authenticated; the address that connected; or the address that a
trusted tunnel reports."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Requests per period and the burst above that, for each value of `criterion`."""

    name: str
    average: int
    burst: int
    criterion: SourceCriterion
    period: str = "1s"


@dataclass(frozen=True, slots=True)
class InFlight:
    """Concurrent requests, for each value of `criterion`."""

    name: str
    amount: int
    criterion: SourceCriterion


@dataclass(frozen=True, slots=True)
class BodyLimit:
    name: str
    max_bytes: int


Middleware = ClientHeaders | StripHeaders | HostHeader | ForwardAuth | Plugin | RateLimit | InFlight | BodyLimit


@dataclass(frozen=True, slots=True)
class Router:
    """`app_id` None is our own public router, the one without a gate. `middlewares` are names, in order.

    `service` None: its requests continue to the child routers of the app, after the gate.
    `preflights` is the rule of the preflights that we answer, "" for none.
    """

    name: str
    host: str
    app_id: str | None
    middlewares: tuple[str, ...]
    service: str | None
    preflights: str = ""


@dataclass(frozen=True, slots=True)
class ChildRouter:
    """A router below the routers of an app, for some of its tiers, selected by the gate's tags.

    `tier_id` None: any tier that is not in `excluded_tier_ids`. `signed_in` None: either. No request matches two child
    routers of an app, so the requests of a broken one do not reach another.
    """

    name: str
    app_id: str
    parents: tuple[str, ...]
    tier_id: str | None
    excluded_tier_ids: tuple[str, ...]
    signed_in: bool | None
    middlewares: tuple[str, ...]
    service: str


@dataclass(frozen=True, slots=True)
class Service:
    name: str
    url: str


@dataclass(frozen=True)
class Plan:
    """Everything in the order of apps.json, our own parts last. Names, hosts and URLs are safe in any format."""

    routers: tuple[Router, ...]
    children: tuple[ChildRouter, ...]
    middlewares: tuple[Middleware, ...]
    services: tuple[Service, ...]
    routing: Routing

    def app_ids(self) -> tuple[str | None, ...]:
        """Every app, and None for our own listener."""
        return tuple(self._routers_of)

    def of(self, app_id: str | None) -> Sequence[Router]:
        """The routers of one app, or our own for None. Raises `ConfigError` for an unknown app."""
        if app_id not in self._routers_of:
            raise ConfigError([f"no app {app_id!r} in apps.json"])
        return self._routers_of[app_id]

    def child_routers_of(self, app_id: str | None) -> Sequence[ChildRouter]:
        return self._child_routers_of.get(app_id, [])

    def middleware(self, name: str) -> Middleware | None:
        """None for one that the operator defines."""
        return self._middlewares.get(name)

    def services_of(self, app_id: str | None) -> tuple[Service, ...]:
        """The services of an app, the default one first."""
        names = [router.service for router in self.of(app_id)] + [
            child.service for child in self.child_routers_of(app_id)[::-1]
        ]
        return tuple(self._services[name] for name in dict.fromkeys(names) if name is not None)

    @cached_property
    def _routers_of(self) -> dict[str | None, list[Router]]:
        found: dict[str | None, list[Router]] = {}
        for router in self.routers:
            found.setdefault(router.app_id, []).append(router)
        return found

    @cached_property
    def _child_routers_of(self) -> dict[str | None, list[ChildRouter]]:
        found: dict[str | None, list[ChildRouter]] = {}
        for child in self.children:
            found.setdefault(child.app_id, []).append(child)
        return found

    @cached_property
    def _middlewares(self) -> dict[str, Middleware]:
        return {middleware.name: middleware for middleware in self.middlewares}

    @cached_property
    def _services(self) -> dict[str, Service]:
        return {service.name: service for service in self.services}
