"""What a plan is made of: routers, what each request goes through, and where it ends. Pure."""

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
"""The entry point on Traefik's own loopback through which ForwardAuth asks the gate (docs/adr, `gate_relay`)."""
PLUGIN = "skpayments"
"""What Traefik's static configuration calls our plugin."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """First on every gated router: takes away what a client says about its request and, unless the gate's own
    middleware does, proves Traefik to the gate."""

    name: str
    proves: bool = True


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
    """ForwardAuth to the gate; which app it is stands in the address, where no client can touch it. `taken`: a pattern
    of the names that are taken from the client for this app alone, empty for none."""

    name: str
    app_id: str
    address: str
    request_headers: tuple[str, ...]
    taken: str


@dataclass(frozen=True, slots=True)
class Plugin:
    """The gate by our plugin, which asks at `gate_url` and keeps what it hears by these headers of the request. `taken`
    as of `Gate`."""

    name: str
    app_id: str
    gate_url: str
    identity_headers: tuple[str, ...]
    taken: str


Key = Literal["user", "peer", "forwarded"]
"""Whose requests are counted together: the user's whom the gate has found; the address's that connected; or the
address's that a trusted tunnel says has connected to it."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Requests per period, and how many at once above that, for each of what `by` tells apart."""

    name: str
    average: int
    burst: int
    by: Key
    period: str = "1s"


@dataclass(frozen=True, slots=True)
class InFlight:
    """Requests at the same time, for each of what `by` tells apart."""

    name: str
    amount: int
    by: Key


@dataclass(frozen=True, slots=True)
class BodyLimit:
    name: str
    max_bytes: int


Middleware = Incoming | Strip | HostHeader | Gate | Plugin | RateLimit | InFlight | BodyLimit


@dataclass(frozen=True, slots=True)
class Router:
    """`app_id` None is our own public router, the one without a gate. `middlewares` are names, in order.

    `service` None: its requests go on to the lanes of its app, after the gate has said who it is.
    `preflights` is the rule of those that we answer, "" for none.
    """

    name: str
    host: str
    app_id: str | None
    middlewares: tuple[str, ...]
    service: str | None
    preflights: str = ""


@dataclass(frozen=True, slots=True)
class Lane:
    """A router below the routers of an app, for some of its tiers; Traefik looks for it with the gate's own tags.

    `tier_id` None: whatever tier is not in `besides`. `signed_in` None: whoever. No request matches two lanes of an
    app, so a broken one leads nowhere, not to another.
    """

    name: str
    app_id: str
    parents: tuple[str, ...]
    tier_id: str | None
    besides: tuple[str, ...]
    signed_in: bool | None
    middlewares: tuple[str, ...]
    service: str


@dataclass(frozen=True, slots=True)
class Service:
    name: str
    url: str


@dataclass(frozen=True)
class Plan:
    """Everything in the order of apps.json, our own last. Its names, hosts and URLs are safe in any rendering."""

    routers: tuple[Router, ...]
    lanes: tuple[Lane, ...]
    middlewares: tuple[Middleware, ...]
    services: tuple[Service, ...]
    routing: Routing

    def app_ids(self) -> tuple[str | None, ...]:
        """Every app, and None for ourselves."""
        return tuple(self._routers_of)

    def of(self, app_id: str | None) -> Sequence[Router]:
        """The routers of one app, or our own for None. Raises `ConfigError` for an app that is not there."""
        if app_id not in self._routers_of:
            raise ConfigError([f"no app {app_id!r} in apps.json"])
        return self._routers_of[app_id]

    def lanes_of(self, app_id: str | None) -> Sequence[Lane]:
        return self._lanes_of.get(app_id, [])

    def middleware(self, name: str) -> Middleware | None:
        """None for one that somebody else has made."""
        return self._middlewares.get(name)

    def services_of(self, app_id: str | None) -> tuple[Service, ...]:
        """Where the requests of an app end, the service of most of them first."""
        names = [router.service for router in self.of(app_id)] + [lane.service for lane in self.lanes_of(app_id)[::-1]]
        return tuple(self._services[name] for name in dict.fromkeys(names) if name is not None)

    @cached_property
    def _routers_of(self) -> dict[str | None, list[Router]]:
        found: dict[str | None, list[Router]] = {}
        for router in self.routers:
            found.setdefault(router.app_id, []).append(router)
        return found

    @cached_property
    def _lanes_of(self) -> dict[str | None, list[Lane]]:
        found: dict[str | None, list[Lane]] = {}
        for lane in self.lanes:
            found.setdefault(lane.app_id, []).append(lane)
        return found

    @cached_property
    def _middlewares(self) -> dict[str, Middleware]:
        return {middleware.name: middleware for middleware in self.middlewares}

    @cached_property
    def _services(self) -> dict[str, Service]:
        return {service.name: service for service in self.services}
