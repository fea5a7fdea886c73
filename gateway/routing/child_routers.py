"""The tiers of an app that have limits or an upstream of their own → child routers below the app's. Pure.

A child router is selected by the gate's tags; the client's were removed before, so no client can choose one.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.catalog.model import App, Tier, Traffic
from gateway.routing.model import ChildRouter, InFlight, Middleware, RateLimit, Service, SourceCriterion


@dataclass(frozen=True, slots=True)
class ChildRouters:
    """What one app needs besides its routers and its own service; all empty for an app without child routers."""

    children: tuple[ChildRouter, ...]
    middlewares: tuple[Middleware, ...]
    services: tuple[Service, ...]


def child_routers_of(app: App, parents: tuple[str, ...], service: str, address: SourceCriterion) -> ChildRouters:
    """`service` is where all other tiers go; `address` is the criterion for requests without a user."""
    urls = dict(app.tier_upstreams)
    special = [tier for tier in app.tiers if tier.traffic is not None or tier.tier_id in urls]
    if not special:
        return ChildRouters((), (), ())
    children: list[ChildRouter] = []
    middlewares: list[Middleware] = []
    services: list[Service] = []
    for tier in special:
        # No app id has an underscore, so the names of other apps cannot be the same.
        suffix = f"{app.app_id}_{tier.tier_id}"
        target = service
        if tier.tier_id in urls:
            target = f"sk-tier-{suffix}"
            services.append(Service(target, urls[tier.tier_id]))
        for prefix, signed_in, key in _rate_limit_keys(app, tier, address):
            limits = _limits(tier.traffic or Traffic(), prefix, suffix, key)
            names = tuple(limit.name for limit in limits)
            middlewares += limits
            children.append(
                ChildRouter(f"{prefix}-tier-{suffix}", app.app_id, parents, tier.tier_id, (), signed_in, names, target)
            )
    others = tuple(tier.tier_id for tier in special)
    # Also for a tier that Traefik does not know yet: its users are not cut off.
    children.append(ChildRouter(f"sk-rest-{app.app_id}", app.app_id, parents, None, others, None, (), service))
    return ChildRouters(tuple(children), tuple(middlewares), tuple(services))


def _rate_limit_keys(app: App, tier: Tier, address: SourceCriterion) -> list[tuple[str, bool | None, SourceCriterion]]:
    """(prefix of the name, signed in, criterion). Requests without a user are on the first tier and need another
    criterion: by user, all of them would share one count."""
    if tier is app.default_tier and tier.traffic is not None:
        return [("sk", True, "user"), ("sk-anonymous", False, address)]
    return [("sk", None, "user")]


def _limits(traffic: Traffic, prefix: str, suffix: str, key: SourceCriterion) -> list[Middleware]:
    limits: list[Middleware] = []
    if traffic.rate is not None:
        rate = traffic.rate
        limits.append(RateLimit(f"{prefix}-rate-{suffix}", rate.average, rate.burst, key, rate.period))
    if traffic.in_flight is not None:
        limits.append(InFlight(f"{prefix}-inflight-{suffix}", traffic.in_flight, key))
    return limits
