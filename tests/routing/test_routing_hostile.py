"""Texts that mean something to the programs that read our files: each is refused, or stays the text that it is.

Every rendering is read back as its program reads it, and must say which hosts there are, which gate each has and where
it leads; nothing more and nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import MappingProxyType
from typing import Any, get_args

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from routing_apps import PUBLIC_URL, apps_json

from gateway.catalog import parse
from gateway.catalog.model import Catalog, GateKind, Rate, Traffic
from gateway.errors import ConfigError
from gateway.routing import FORMATS, Plan, files_of, ingress_problems, plan

# A busy machine is no failure.
UNHURRIED = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
HOSTILE = st.sampled_from(
    ["a`) || PathPrefix(`/", "a`)||HostRegexp(`.*", '{{ env "GATE_SECRET" }}', "{{", "}}", "${GATE_SECRET}", "$$", "$A",
     "a\nb: c", "a\r\nX: y", "a\n  - --api.insecure=true", "a,b", "a b", "a'b", '"', "'", "\\", "", " ", "é", "a@file",
     "sk-x@file", "A.example", "a:80", "-", "--api.insecure=true", "../x", "a%2fb", "a?app=b", "#", "&x", "*", "!!x",
     "[a]", "{a: b}", "null", "true", "1e3", "0x1", "x" * 300, "a_b", "a.b", "\u2028", "\x00", "http://a", "http://a/x",
     "http://u:p@a", "http://a`b", "http://[::1]:80", "1s; drop", "0.0.0.0/0", "10.0.0.0/8", "3.7.9"]
) | st.text(max_size=20)  # fmt: skip
Route = tuple[str | None, frozenset[str]]
"""The gate's address, if there is one, and where requests end."""


def base(children: bool) -> Catalog:
    """Two apps: `blog`, with or without child routers, and `shop`, with a trusted header."""
    tree = json.loads(apps_json([("blog", ["blog.example.com", "b.example.com"]), ("shop", ["shop.example.com"])]))
    blog, shop = tree["apps"]
    blog["tiers"] = [{"id": "free", "name": "Free"}, {"id": "pro", "name": "Pro"}]
    if children:
        blog["tiers"][0]["traffic"] = {"rate": {"average": 1}}
        blog["upstream"] = {"default": "http://blog:3000", "pro": "http://fast:3000"}
    shop["identity"] = [{"kind": "header", "name": "Remote-User", "after": "authelia@file"}]
    return parse(json.dumps(tree).encode())


def _of_app(which: str, **change: Any) -> Callable[[Catalog], Catalog]:
    def changed(catalog: Catalog) -> Catalog:
        apps = [replace(app, **change) if app.app_id == which else app for app in catalog.apps.values()]
        return replace(catalog, apps=MappingProxyType({app.app_id: app for app in apps}))

    return changed


def _of_tier(**change: Any) -> Callable[[Catalog], Catalog]:
    def changed(catalog: Catalog) -> Catalog:
        first, second = catalog.apps["blog"].tiers
        return _of_app("blog", tiers=(first, replace(second, **change)))(catalog)

    return changed


def _of_routing(**change: Any) -> Callable[[Catalog], Catalog]:
    return lambda catalog: replace(catalog, routing=replace(catalog.routing, **change))


PLACES: dict[str, Callable[[str], Callable[[Catalog], Catalog]]] = {
    "id": lambda text: _of_app("shop", app_id=text),
    "hosts": lambda text: _of_app("shop", hosts=(text,)),
    "upstream": lambda text: _of_app("shop", upstream=text),
    "identity name": lambda text: _of_header(name=text),
    "identity after": lambda text: _of_header(after=text),
    "tier id": lambda text: _of_tier(tier_id=text),
    "tier upstream": lambda text: _of_app("blog", tier_upstreams=(("pro", text),)),
    "upstream of a tier": lambda text: _of_app("blog", tier_upstreams=((text, "http://fast:3000"),)),
    "period": lambda text: _of_tier(traffic=Traffic(Rate(1, text, 1))),
    "gate_url": lambda text: _of_routing(gate_urls=("http://gate:8081", text)),
    "public_service_url": lambda text: _of_routing(public_service_url=text),
    "traefik_url": lambda text: _of_routing(traefik_url=text),
    "network": lambda text: _of_routing(network=text),
    "entry_points": lambda text: _of_routing(entry_points=(text,)),
    "cert_resolver": lambda text: _of_routing(cert_resolver=text),
    "trusted_ips": lambda text: _of_routing(trusted_ips=(text,)),
    "traefik_version": lambda text: _of_routing(traefik_version=text),
}


def _of_header(**change: Any) -> Callable[[Catalog], Catalog]:
    return lambda catalog: _of_app("shop", identity=(replace(catalog.apps["shop"].identity[0], **change),))(catalog)


@UNHURRIED
@given(st.sampled_from(sorted(PLACES)), HOSTILE, st.sampled_from(["file", "http", "docker", "swarm"]),
       st.sampled_from(["forward_auth", "plugin"]))  # fmt: skip
@example("tier id", "a`) || PathPrefix(`/", "file", "plugin")
@example("upstream of a tier", "a`) || PathPrefix(`/", "http", "forward_auth")
def test_a_hostile_text_is_refused_or_stays_a_text(place: str, text: str, provider: Any, gate: Any) -> None:
    """Even from a catalog that `parse` did not make."""
    catalog = _of_routing(provider=provider)(PLACES[place](text)(base(provider in ("file", "http"))))
    try:
        routes = plan(catalog, PUBLIC_URL, gate)
    except ConfigError:
        return
    every_rendering_says_what_the_plan_says(catalog, routes)


def test_a_catalog_without_anything_hostile_is_not_refused() -> None:
    for children, provider in ((True, "file"), (True, "http"), (False, "docker"), (False, "swarm")):
        catalog = _of_routing(provider=provider)(base(children))
        for gate in get_args(GateKind):
            every_rendering_says_what_the_plan_says(catalog, plan(catalog, PUBLIC_URL, gate))


def every_rendering_says_what_the_plan_says(catalog: Catalog, routes: Plan) -> None:
    expected_routes = {
        host: (
            f"{catalog.routing.gate_urls[0]}/gate?app={app.app_id}",
            frozenset([app.upstream, *dict(app.tier_upstreams).values()]),
        )
        for app in catalog.apps.values()
        for host in app.hosts
    }
    expected_routes["pay.example.com"] = (None, frozenset([catalog.routing.public_service_url]))
    for name in FORMATS:
        with_children = bool(routes.children) and name in ("docker", "swarm", "compose")
        try:
            files = files_of(routes, name)
        except ConfigError:
            dotted = "." in "".join((*catalog.routing.entry_points, catalog.routing.cert_resolver or ""))
            assert with_children or (name == "static" and dotted), name
            continue
        assert len(set(files)) == len(files)
        _READERS[name](catalog, list(files.values()), expected_routes)


def _file(_: Catalog, texts: list[str], expected_routes: dict[str, Route]) -> None:
    (text,) = texts
    # Once, or for each app's plugin.
    assert set(re.findall(r"\{\{.*", text)) == {'{{ env "GATE_SECRET" }}\''}
    assert _routes(yaml.safe_load(text)) == expected_routes


def _http(_: Catalog, texts: list[str], expected_routes: dict[str, Route]) -> None:
    assert _routes(json.loads(texts[0])) == expected_routes


def _labels(_: Catalog, texts: list[str], expected_routes: dict[str, Route]) -> None:
    found: dict[str, Any] = {}
    for text in texts:
        for service in yaml.safe_load(text)["services"].values():
            labels = service.get("labels") or service["deploy"]["labels"]
            read = _unflattened({key: _as_compose(value) for key, value in labels.items()})
            for host, (gate, _port) in _routes(read["traefik"]).items():
                found[host] = gate
    assert found == {host: gate for host, (gate, _) in expected_routes.items()}


def _off(_: Catalog, texts: list[str], expected_routes: dict[str, Route]) -> None:
    hosts = []
    for text in texts:
        for service in yaml.safe_load(text)["services"].values():
            labels = service.get("labels") or service["deploy"]["labels"]
            hosts += [value for key, value in labels.items() if re.fullmatch(r"dockflare\.\d+\.hostname", key)]
    assert sorted(hosts) == sorted(expected_routes)


def _cloudflared(catalog: Catalog, texts: list[str], expected_routes: dict[str, Route]) -> None:
    _rules(catalog, yaml.safe_load(texts[0])["ingress"], expected_routes)


def _cloudflare(catalog: Catalog, texts: list[str], expected_routes: dict[str, Route]) -> None:
    _rules(catalog, json.loads(texts[0])["config"]["ingress"], expected_routes)


def _rules(catalog: Catalog, rules: list[Any], expected_routes: dict[str, Route]) -> None:
    assert ingress_problems(rules) == []
    assert [rule["hostname"] for rule in rules[:-1]] == list(expected_routes)
    assert {rule["service"] for rule in rules[:-1]} == {catalog.routing.traefik_url}


def _dns(_: Catalog, texts: list[str], expected_routes: dict[str, Route]) -> None:
    assert [(record["name"], record["type"]) for record in json.loads(texts[0])] == [
        (host, "CNAME") for host in expected_routes
    ]


def _dockflare(catalog: Catalog, texts: list[str], expected_routes: dict[str, Route]) -> None:
    found = {}
    for text in texts:
        for service in yaml.safe_load(text)["services"].values():
            for key, value in service["labels"].items():
                if key.endswith(".hostname"):
                    found[value] = service["labels"][key.replace(".hostname", ".service")]
    assert found == dict.fromkeys(expected_routes, catalog.routing.traefik_url)


def _static(catalog: Catalog, texts: list[str], _: dict[str, Route]) -> None:
    """Read back, it has the options that are written here by hand and no other."""
    routing, read = catalog.routing, yaml.safe_load(texts[0])
    if "services" in read:
        (service,) = read["services"].values()
        flags = dict(flag.removeprefix("--").split("=", 1) for flag in service["command"])
        assert len(flags) == len(service["command"])
        assert flags.pop("providers.http.headers.X-SK-Gate") == "${GATE_SECRET}"
        assert flags["providers.http.endpoint"] == f"{routing.gate_urls[0]}/traefik"
        entry_points = {key.split(".")[1] for key in flags if re.fullmatch(r"entryPoints\.[^.]+\.address", key)}
        assert "$" not in str(flags)
    else:
        assert set(read) == {
            "entryPoints", "providers", "experimental", "accessLog", "metrics", "ping", "log", "global",
            *(["certificatesResolvers"] if routing.cert_resolver else []),
        }  # fmt: skip
        entry_points = set(read["entryPoints"])
        for name in routing.entry_points:
            assert read["entryPoints"][name]["forwardedHeaders"] == {"trustedIPs": list(routing.trusted_ips)}
    assert entry_points == {*routing.entry_points, "sk-ops" if "ops" in routing.entry_points else "ops"}


_READERS: dict[str, Callable[[Catalog, list[str], dict[str, Route]], None]] = {
    "file": _file, "http": _http, "docker": _labels, "swarm": _labels, "cloudflared": _cloudflared,
    "cloudflare": _cloudflare, "dns": _dns, "dockflare": _dockflare, "cloudflare-tunnel": _dockflare,
    "static": _static,
    "compose": lambda catalog, texts, expected_routes: (
        _labels if catalog.routing.provider in ("docker", "swarm") else _off)(catalog, texts, expected_routes),
}  # fmt: skip


def _routes(document: Any) -> dict[str, Route]:
    """What Traefik makes of it: each host, its gate, and the URLs or ports of its services."""
    http, found = document["http"], {}
    for name, router in http["routers"].items():
        if "parentRefs" in router or name.startswith("sk-arrived-"):
            continue
        match = re.fullmatch(r"Host\(`([a-z0-9.-]+)`\)", router["rule"])
        assert match is not None, router["rule"]
        used = _list(router["middlewares"])
        gates = [_address(http["middlewares"][each]) for each in used if each.startswith("sk-gate-")]
        below = [child["service"] for child in http["routers"].values() if name in _list(child.get("parentRefs", []))]
        ends = frozenset(_end(http["services"][service]) for service in (below or [router["service"]]))
        found[match[1]] = (gates[0] if gates else None, ends)
    return found


def _address(gate: Any) -> str:
    """The address that ForwardAuth calls; the plugin makes the same one from its two options."""
    if "forwardAuth" in gate:
        return str(gate["forwardAuth"]["address"])
    options = gate["plugin"]["skpayments"]
    return f"{_list(options['gateUrl'])[0]}/gate?app={options['app']}"


def _end(service: Any) -> str:
    balancer = service["loadBalancer"]
    return str(balancer["servers"][0]["url"] if "servers" in balancer else balancer["server"]["port"])


def _list(value: Any) -> list[str]:
    return value.split(",") if isinstance(value, str) else value


def _as_compose(value: str) -> str:
    """The text after compose. A variable other than the secret was injected."""

    def parts() -> Iterator[str]:
        for part in value.split("$$"):
            part = part.replace("${GATE_SECRET}", "the secret")
            assert "$" not in part, value
            yield part

    return "$".join(parts())


def _unflattened(labels: dict[str, str]) -> Any:
    tree: dict[str, Any] = {}
    for key, value in labels.items():
        place = tree
        *parents, last = key.split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return tree
