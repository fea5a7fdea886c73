"""The shape of what apps.json says to Traefik: `routing`, and the `traffic` of a tier. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from gateway.catalog import values
from gateway.catalog.leaves import Leaf, Origin, PlainName, ResolverName, Shape

# Traefik counts in 64 bits of nanoseconds; nobody means more than these.
_MAX_COUNT = 1_000_000

# The values of a map are looked at by `routing_rules`, which can say which of them is wrong.
Upstream = Annotated[
    Annotated[str, Field(min_length=1, max_length=1000)] | dict[str, str],
    Field(description='Where Traefik finds it: a URL, or {"default": …, "pro": …} with URLs for single tiers.'),
    Leaf('the URL of a service, such as "http://open-webui:8080"', values.origin_problem),
]
Count = Annotated[int, Field(ge=1, le=_MAX_COUNT), Leaf(f"a whole number from 1 to {_MAX_COUNT}")]


class RateShape(Shape):
    """So many requests, for each user; without a sign-in, for each address."""

    average: Count = Field(description="Requests per period.")
    period: Annotated[
        str,
        Field(pattern=r"^[1-9][0-9]{0,3}[smh]$"),
        Leaf('a duration, such as "1s", "5m" or "1h"'),
    ] = "1s"
    burst: Count | None = Field(
        None,
        description="How many may come at once; left out: what two seconds bring. Traefik forgets who is idle for two "
        "seconds, and their burst starts anew: a larger one makes the average larger, too.",
    )


class TrafficShape(Shape):
    """What Traefik itself allows the users of a tier, after the gate: each has a count of their own."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})
    rate: RateShape | None = None
    in_flight: Count | None = Field(
        None, description="Requests at the same time; an open WebSocket is one for as long as it is open."
    )


class RoutingShape(Shape):
    """How Traefik and the tunnel reach things."""

    provider: Annotated[
        Literal["file", "http", "docker", "swarm"], Leaf('one of "file", "http", "docker", "swarm"')
    ] = Field("file", description="How Traefik gets the routes: a file, GET /traefik on the gate's port, or labels.")
    gate: Annotated[Literal["forward_auth", "plugin"], Leaf('one of "forward_auth", "plugin"')] = Field(
        "forward_auth",
        description="How Traefik asks the gate: with its own ForwardAuth, each time, or with our plugin, which keeps "
        "answers for as long as they hold and wants traefik/plugins-local beside Traefik (SOP.md).",
    )
    gate_relay: bool = Field(
        False,
        description="ForwardAuth asks through an entry point of Traefik's own, sk-gate, which waits two seconds for "
        "the gate instead of thirty. Wants what skpay routes write --format static writes.",
    )
    traefik_version: Annotated[
        str,
        Field(pattern=r"^[0-9]{1,3}(\.[0-9]{1,4}){2}$"),
        Leaf('a version of Traefik, such as "3.7.15"', values.traefik_version_problem),
    ] = Field(values.OLDEST_TRAEFIK, description="The Traefik that reads all this; older ones have known holes.")
    entry_points: list[PlainName] = Field(
        default_factory=lambda: ["web"],
        min_length=1,
        max_length=20,
        description="Traefik's entry points that serve the apps.",
    )
    trusted_ips: list[
        Annotated[
            str, Field(max_length=50), Leaf('an address or network, such as "172.20.0.5/32"', values.network_problem)
        ]
    ] = Field(
        default_factory=list,
        max_length=50,
        description="The tunnel's addresses, which may say who the visitor is. Never a network that others are in.",
    )
    cert_resolver: ResolverName = Field(None, description="Traefik's certificate resolver; null: no TLS on routers.")
    gate_url: Origin = Field("http://skpayments:8081", description="Where Traefik finds the gate's port.")
    public_service_url: Origin = Field("http://skpayments:8080", description="Where Traefik finds the public port.")
    traefik_url: Origin = Field("http://traefik:80", description="Where the tunnel finds Traefik.")
    network: PlainName = Field("proxy", description="The Docker network that Traefik shares with the apps.")
