"""The rules between values for upstreams and traffic limits of tiers. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.catalog.document import Path, Problem, quoted
from gateway.catalog.tree import Raw, known, objects, text
from gateway.catalog.values import origin_problem

_LABELS = ("docker", "swarm")


def upstreams(path: Path, app: Raw) -> Iterator[Problem]:
    """A map of upstreams has a default, and its other keys are tiers of this app."""
    urls = app.get("upstream")
    if not isinstance(urls, dict):
        return
    place = (*path, "upstream")
    tiers = [tier for _, tier in objects(app, (*path, "tiers"))]
    names = dict.fromkeys(["default", *(tier_id for tier in tiers for _, tier_id in text(tier, ("id",)))])
    if "default" not in urls:
        yield (*place, "default"), "required, but missing"
    for name, url in urls.items():
        yield from known((*place, name), name, names, 'tier of this app or "default"')
        why = origin_problem(url) if isinstance(url, str) else None
        if why:
            yield (*place, name), f"expected the URL of a service, got {quoted(url)}: {why}"


def tier_traffic(path: Path, app: Raw) -> Iterator[Problem]:
    """A limit without a value is a mistake."""
    for tier_path, tier in objects(app, (*path, "tiers")):
        traffic = tier.get("traffic")
        if isinstance(traffic, dict) and traffic.get("rate") is None and traffic.get("in_flight") is None:
            yield (*tier_path, "traffic"), "expected rate, in_flight or both, got neither"


def gate_problems(tree: Raw) -> Iterator[Problem]:
    """ForwardAuth and Traefik's relay to it call one address."""
    routing = tree.get("routing")
    urls = routing.get("gate_url") if isinstance(routing, dict) else None
    if isinstance(routing, dict) and isinstance(urls, list) and len(urls) > 1 and routing.get("gate") != "plugin":
        why = 'ForwardAuth calls one address; use one name for all gates, or "gate": "plugin"'
        yield ("routing", "gate_url"), f"expected one URL, got {len(urls)}: {why}"


def label_problems(tree: Raw) -> Iterator[Problem]:
    """Labels cannot define child routers: Traefik would make root routers of them, without the gate."""
    routing = tree.get("routing")
    provider = routing.get("provider") if isinstance(routing, dict) else None
    if provider not in _LABELS:
        return
    for path, app in objects(tree, ("apps",)):
        places = [(*tier_path, "traffic") for tier_path, tier in objects(app, (*path, "tiers")) if tier.get("traffic")]
        urls = app.get("upstream")
        if isinstance(urls, dict) and set(urls) - {"default"}:
            places.append((*path, "upstream"))
        for place in places:
            yield place, f'labels cannot tell tiers apart; set routing.provider to "file" or "http", not "{provider}"'
