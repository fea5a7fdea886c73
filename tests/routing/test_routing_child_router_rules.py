"""Laws of child routers: each request that the gate allows matches exactly one, and is counted for its own user."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import HealthCheck, given, settings
from routing_apps import PUBLIC_URL, catalogs

from gateway.catalog.model import App, Catalog, Tier
from gateway.routing import plan, traefik_document

# A busy machine is no failure.
UNHURRIED = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
TERM = re.compile(r"(!?)Header(Regexp)?\(`(X-SK-Tier|X-SK-User)`, `([a-z0-9_.-]+)`\)")


def matches(rule: str, headers: dict[str, str]) -> bool:
    """The rule as Traefik reads it; nothing but what is written out here may stand in one."""
    for term in rule.split(" && "):
        found = TERM.fullmatch(term)
        assert found is not None, term
        negated, regexp, name, value = found.groups()
        assert (value == ".") is bool(regexp), term
        here = bool(headers.get(name)) if regexp else headers.get(name) == value
        if here is bool(negated):
            return False
    return True


@UNHURRIED
@given(catalogs())
def test_each_request_takes_one_router_to_its_upstream_and_is_counted_by_user_or_by_address(catalog: Catalog) -> None:
    http = traefik_document(plan(catalog, PUBLIC_URL), "s")["http"]
    address = {"ipStrategy": {"ipv6Subnet": 64, **({"depth": 1} if catalog.routing.trusted_ips else {})}}
    for app in catalog.apps.values():
        children = _children(http, app)
        if not children:
            assert app.tier_upstreams == ()
            assert all(tier.traffic is None for tier in app.tiers)
            continue
        for tier_id in (*(tier.tier_id for tier in app.tiers), "new"):
            tier = app.tier(tier_id)
            # Whoever is not signed in has the first tier.
            for user in ["u", *([""] if tier is app.default_tier else [])]:
                (child,) = [one for one in children if matches(one["rule"], {"X-SK-Tier": tier_id, "X-SK-User": user})]
                (server,) = http["services"][child["service"]]["loadBalancer"]["servers"]
                assert server["url"] == dict(app.tier_upstreams).get(tier_id, app.upstream)
                limits = [http["middlewares"][name] for name in child.get("middlewares", ())]
                assert limits == _limits(tier, {"requestHeaderName": "X-SK-User"} if user else address)
        assert not any(matches(child["rule"], {"X-SK-User": "u"}) for child in children), "no tier, no child router"


def _children(http: Any, app: App) -> list[Any]:
    """The routers below those of the app, all of which are below all of them."""
    rules = {f"Host(`{host}`)" for host in app.hosts}
    parents = {name for name, router in http["routers"].items() if router["rule"] in rules}
    children = [router for router in http["routers"].values() if parents & set(router.get("parentRefs", ()))]
    assert all(set(child["parentRefs"]) == parents for child in children)
    return children


def _limits(tier: Tier | None, key: Any) -> list[Any]:
    traffic = tier.traffic if tier else None
    rate = traffic.rate if traffic else None
    limits = []
    if rate is not None:
        options = {"average": rate.average, "burst": rate.burst, "period": rate.period, "sourceCriterion": key}
        limits.append({"rateLimit": options})
    if traffic is not None and traffic.in_flight is not None:
        limits.append({"inFlightReq": {"amount": traffic.in_flight, "sourceCriterion": key}})
    return limits
