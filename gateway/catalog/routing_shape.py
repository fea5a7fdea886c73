"""The shapes of apps.json that concern Traefik: `routing`, and `traffic` of a tier. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from gateway.catalog import values
from gateway.catalog.leaves import Leaf, Origin, PlainName, ResolverName, Shape

# Traefik counts in 64 bits of nanoseconds; larger values are mistakes.
_MAX_COUNT = 1_000_000

# The values of a map are checked by `routing_rules`, which can name the wrong one.
Upstream = Annotated[
    Annotated[str, Field(min_length=1, max_length=1000)] | dict[str, str],
    Field(description='The app\'s own URL for Traefik, or {"default": …, "pro": …} with a URL per tier.'),
    Leaf('the URL of a service, such as "http://open-webui:8080"', values.origin_problem),
]
Count = Annotated[int, Field(ge=1, le=_MAX_COUNT), Leaf(f"a whole number from 1 to {_MAX_COUNT}")]


class RateShape(Shape):
    """A rate limit per user; without a sign-in, per address."""

    average: Count = Field(description="Requests per period.")
    period: Annotated[
        str,
        Field(pattern=r"^[1-9][0-9]{0,3}[smh]$", description="The time that average refers to."),
        Leaf('a duration, such as "1s", "5m" or "1h"'),
    ] = "1s"
    burst: Count | None = Field(
        None,
        description="Requests at once. Default: the average of two seconds. Traefik forgets users that are idle for "
        "two seconds, so a larger burst also raises the average.",
    )


class TrafficShape(Shape):
    """Limits that Traefik enforces per user of a tier, after the gate."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})
    rate: RateShape | None = Field(None, description="Requests per time.")
    in_flight: Count | None = Field(None, description="Concurrent requests. An open WebSocket counts as one.")


class RoutingShape(Shape):
    """How Traefik and the tunnel reach this service and the apps."""

    provider: Annotated[
        Literal["file", "http", "docker", "swarm"], Leaf('one of "file", "http", "docker", "swarm"')
    ] = Field(
        "file", description="How Traefik gets the routes: file, GET /traefik on the gate's port (http), or labels."
    )
    gate: Annotated[Literal["forward_auth", "plugin"], Leaf('one of "forward_auth", "plugin"')] = Field(
        "forward_auth",
        description="How Traefik calls the gate: its own ForwardAuth for every request, or the plugin in "
        "traefik/plugins-local, which caches answers while they are valid (docs/gate.md).",
    )
    gate_relay: bool = Field(
        False,
        description="ForwardAuth calls the gate through an entry point on Traefik's loopback, sk-gate, with a "
        "timeout of 2 s instead of 30 s. Needs the static configuration of skpay routes write --format static.",
    )
    traefik_version: Annotated[
        str,
        Field(pattern=r"^[0-9]{1,3}(\.[0-9]{1,4}){2}$"),
        Leaf('a version of Traefik, such as "3.7.15"', values.traefik_version_problem),
    ] = Field(
        values.OLDEST_TRAEFIK,
        description="The version of Traefik. Older ones have known vulnerabilities and are refused.",
    )
    entry_points: list[PlainName] = Field(
        default_factory=lambda: ["web"],
        min_length=1,
        max_length=20,
        description="The entry points of Traefik on which the routers listen.",
    )
    trusted_ips: list[
        Annotated[
            str, Field(max_length=50), Leaf('an address or network, such as "172.20.0.5/32"', values.network_problem)
        ]
    ] = Field(
        default_factory=list,
        max_length=50,
        description="The tunnel's addresses, which are trusted in X-Forwarded-For. Never a network with other clients.",
    )
    cert_resolver: ResolverName = Field(
        None, description="Traefik's certificate resolver. Default: no TLS on routers, as behind a tunnel."
    )
    gate_url: list[Origin] = Field(
        default_factory=lambda: ["http://skpayments:8081"],
        min_length=1,
        max_length=20,
        description="The gate's port, as Traefik reaches it. The plugin takes those of several gates of one database: "
        "it uses the first and, while that does not answer, the next.",
    )
    public_service_url: Origin = Field("http://skpayments:8080", description="The public port, as Traefik reaches it.")
    traefik_url: Origin = Field("http://traefik:80", description="Traefik, as the tunnel reaches it.")
    network: PlainName = Field("proxy", description="The Docker network that Traefik shares with the apps.")
