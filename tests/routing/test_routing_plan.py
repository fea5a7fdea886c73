"""Laws of the plan: every router of an app has the gate, whatever apps.json says, and nothing hostile gets through."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from routing_apps import PUBLIC_URL, apps_json, catalog, catalogs

from gateway.catalog import parse
from gateway.catalog.identity import HeaderIdentity
from gateway.catalog.model import Catalog
from gateway.errors import ConfigError
from gateway.routing import (
    Plan,
    cloudflared,
    docker_labels,
    dockflare_labels,
    ingress,
    ingress_problems,
    plan,
    swarm_labels,
    traefik_document,
    traefik_file,
)
from gateway.routing.model import ForwardAuth, HostHeader

# A busy machine is no failure.
UNHURRIED = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
IDENTITIES: list[dict[str, str]] = [
    {"kind": "openwebui", "secret": "env:A", "namespace": ""},
    {"kind": "user_key"},
    {"kind": "header", "name": "Remote-User", "after": "authelia@file", "namespace": "sso"},
    {"kind": "header", "name": "x-auth-request-user", "after": "oauth2-proxy@docker", "namespace": "proxy"},
]


@UNHURRIED
@given(catalogs())
def test_every_router_of_an_app_takes_the_scrub_then_the_host_then_its_own_gate(catalog: Catalog) -> None:
    routes = plan(catalog, PUBLIC_URL)
    http = traefik_document(routes, "the secret")["http"]
    hosts = {host: app.app_id for app in catalog.apps.values() for host in app.hosts}
    assert len({middleware.name for middleware in routes.middlewares}) == len(routes.middlewares)
    roots = {name: router for name, router in http["routers"].items() if "parentRefs" not in router}
    assert len(roots) == 2 * len(hosts) + 1
    of_doctor = {name: router for name, router in roots.items() if name.startswith("sk-arrived-")}
    assert len(of_doctor) == len(hosts)
    for name, router in roots.items():
        if name == "sk-public":
            assert router["rule"] == "Host(`pay.example.com`)"
            continue
        if name.startswith("sk-arrived-"):
            continue
        # Its neighbour is as strict, leads to us and nowhere else, and differs in one path only.
        assert of_doctor.pop(name.replace("sk-app-", "sk-arrived-", 1)) == {
            **router,
            "rule": f"Path(`/.skpayments/arrived`) && {router['rule']}",
            "service": "sk-public",
            "priority": 1001,
        }
        *before, incoming, header, gate = (http["middlewares"].get(used) for used in router["middlewares"])
        host = router["rule"].removeprefix("Host(`").removesuffix("`)")
        app_id = hosts.pop(host)
        scrub = incoming["headers"]["customRequestHeaders"]
        assert scrub["X-SK-Gate"] == "the secret"
        assert scrub["X-Forwarded-Uri"] == scrub["X-Forwarded-Method"] == scrub["X-Forwarded-Prefix"] == ""
        assert header["headers"]["customRequestHeaders"] == {"X-Forwarded-Host": host}
        # Before them only what takes a trusted header from the visitor, and the operator's own that sets it (T30).
        trusts = isinstance(catalog.apps[app_id].identity[0], HeaderIdentity)
        assert before == ([{"headers": {"customRequestHeaders": {"Remote-User": ""}}}, None] if trusts else [])
        assert ("authelia@file" in router["middlewares"]) is trusts
        assert gate["forwardAuth"]["address"] == f"http://skpayments:8081/gate?app={app_id}"
        assert gate["forwardAuth"]["trustForwardHeader"] is False
        below = [child for child in routes.children if name in child.parents]
        assert {child.app_id for child in below} <= {app_id}
        assert ("service" in router) is (not below)
        for service in [child.service for child in below] or [router["service"]]:
            (server,) = http["services"][service]["loadBalancer"]["servers"]
            assert server["url"] in (f"http://{app_id}:3000", f"http://{app_id}-fast:1")
    assert hosts == of_doctor == {}
    for name, router in http["routers"].items():
        if name not in roots:
            assert set(router["parentRefs"]) <= set(roots) - {"sk-public"}
            assert not {"entryPoints", "tls"} & set(router)


@pytest.mark.parametrize("render", [docker_labels, swarm_labels])
def test_t42_labels_refuse_an_app_that_needs_child_routers_by_its_name(render: Callable[[Plan, str], object]) -> None:
    """Traefik would leave such labels out without a message, and every tier would use the same router."""
    tree = json.loads(apps_json([("fast", ["a.example.com"]), ("plain", ["b.example.com"])]))
    tree["apps"][0]["tiers"][0]["traffic"] = {"in_flight": 1}
    routes = plan(parse(json.dumps(tree).encode()), PUBLIC_URL)
    with pytest.raises(ConfigError, match="fast: labels cannot tell tiers apart; set "):
        render(routes, "fast")
    assert render(routes, "plain")


@UNHURRIED
@given(catalogs())
def test_file_labels_and_tunnel_match_the_document(catalog: Catalog) -> None:
    routes = plan(catalog, PUBLIC_URL)
    text = traefik_file(routes)
    assert yaml.safe_load(text) == traefik_document(routes, '{{ env "GATE_SECRET" }}')
    hosts = [host for app in catalog.apps.values() for host in app.hosts] + ["pay.example.com"]
    rules = yaml.safe_load(cloudflared(routes))["ingress"]
    assert [rule["hostname"] for rule in rules[:-1]] == hosts
    assert {rule["service"] for rule in rules[:-1]} == {"http://traefik:80"}
    assert ingress_problems(rules) == []
    with_children = {child.app_id for child in routes.children}
    for app_id, app in catalog.apps.items():
        if app_id in with_children:
            for render in (docker_labels, swarm_labels):
                with pytest.raises(ConfigError, match=f"{app_id}: labels cannot tell tiers apart"):
                    render(routes, app_id)
            continue
        for labels in (docker_labels(routes, app_id), swarm_labels(routes, app_id)):
            chains = [value for key, value in labels.items() if key.endswith(".middlewares")]
            assert len(chains) == 2 * len(app.hosts)
            for chain in chains:
                *_, incoming, _host, gate = chain.split(",")
                assert labels[f"traefik.http.middlewares.{incoming}.headers.customRequestHeaders.X-SK-Gate"] == (
                    "${GATE_SECRET}"
                )
                assert labels[f"traefik.http.middlewares.{gate}.forwardAuth.address"].endswith(f"?app={app_id}")


def test_an_app_must_not_claim_our_own_host() -> None:
    where, what = "apps.json: apps[0].hosts[1]", "pay.example.com is the host of PUBLIC_URL"
    problems = re.escape(f"{where}: {what}, which is reserved for SKPayments; use another host")
    with pytest.raises(ConfigError, match=problems):
        plan(catalog("a.example.com", "PAY.example.com"), "https://Pay.Example.com:443/base")


def test_two_apps_of_one_host_are_refused_though_parse_was_passed_by() -> None:
    good = catalog()
    other = replace(good.apps["blog"], app_id="shop")
    with pytest.raises(ConfigError, match=re.escape("apps[1].hosts[0]: the same host stands there twice")):
        plan(replace(good, apps=MappingProxyType({**good.apps, "shop": other})), PUBLIC_URL)


@pytest.mark.parametrize("public_url", ["", "https://", "https://a_b", "https://[::1]", "https://a`b"])
def test_a_public_url_that_no_rule_could_match_is_refused(public_url: str) -> None:
    with pytest.raises(ConfigError, match="PUBLIC_URL: no host that Traefik could match"):
        plan(catalog(), public_url)


def test_a_fresh_install_still_routes_our_own_host() -> None:
    routes = plan(parse(b'{"apps": []}'), PUBLIC_URL)
    http = traefik_document(routes, "s")["http"]
    assert list(http["routers"]) == list(http["services"]) == ["sk-public"]
    assert list(http["middlewares"]) == ["sk-public-rate", "sk-public-body"]


@pytest.mark.parametrize(
    ("kinds", "headers"),
    [
        ([0], {"Authorization", "Cookie", "X-Api-Key"}),
        ([1], {"Authorization"}),
        ([0, 1], {"Authorization", "Cookie", "X-Api-Key"}),
        ([2, 0], {"Remote-User", "Authorization", "Cookie", "X-Api-Key"}),
    ],
)
def test_the_gate_is_shown_what_the_identity_kinds_read_and_no_more(kinds: list[int], headers: set[str]) -> None:
    tree = json.loads(apps_json([("blog", ["blog.example.com"])]))
    tree["apps"][0]["identity"] = [IDENTITIES[kind] for kind in kinds]
    gates = [
        each for each in plan(parse(json.dumps(tree).encode()), PUBLIC_URL).middlewares if isinstance(each, ForwardAuth)
    ]
    always = {"Accept", "Origin", "Sec-Fetch-Mode", "Access-Control-Request-Method", "X-SK-Gate"}
    assert set(gates[0].request_headers) == headers | always
    assert len(gates[0].request_headers) == len(headers | always)


def test_t30_a_trusted_header_is_removed_from_the_client_then_set_then_sent_to_the_gate() -> None:
    tree = json.loads(apps_json([("blog", ["a.example", "b.example"]), ("shop", ["c.example"])]))
    tree["apps"][0]["identity"] = [IDENTITIES[2], IDENTITIES[3]]
    routes = plan(parse(json.dumps(tree).encode()), PUBLIC_URL)
    http = traefik_document(routes, "s")["http"]
    first, after = "sk-strip-blog", ["authelia@file", "oauth2-proxy@docker"]
    assert http["routers"]["sk-app-blog"]["middlewares"] == [first, *after, "sk-in", "sk-host-blog", "sk-gate-blog"]
    assert http["routers"]["sk-app-blog_2"]["middlewares"] == [first, *after, "sk-in", "sk-host-blog_2", "sk-gate-blog"]
    assert http["routers"]["sk-app-shop"]["middlewares"] == ["sk-in", "sk-host-shop", "sk-gate-shop"]
    taken = {"Remote-User": "", "X-Auth-Request-User": ""}
    assert http["middlewares"][first] == {"headers": {"customRequestHeaders": taken}}
    labels = docker_labels(routes, "blog")
    chain = ["sk-strip-blog", *after, "sk-in-blog", "sk-host-blog", "sk-gate-blog"]
    assert labels["traefik.http.routers.sk-app-blog.middlewares"] == ",".join(chain)


@pytest.mark.parametrize(("name", "after"), [("Remote_User", "a@file"), ("X-SK-User", "a@file"), ("Remote-User", "a")])
def test_a_plan_checks_trusted_headers_itself(name: str, after: str) -> None:
    good = catalog()
    app = replace(good.apps["blog"], identity=(HeaderIdentity(name, after),))
    with pytest.raises(ConfigError, match=re.escape("apps[0].identity[0].")):
        plan(replace(good, apps=MappingProxyType({"blog": app})), PUBLIC_URL)


def test_method_overrides_are_removed_where_the_method_decides() -> None:
    tree = json.loads(apps_json([("blog", ["blog.example.com"]), ("shop", ["shop.example.com"])]))
    tree["apps"][1]["routes"] = [{"path": "/items", "min_tier": "free", "methods": ["DELETE"]}]
    http = traefik_document(plan(parse(json.dumps(tree).encode()), PUBLIC_URL), "secret")["http"]
    assert http["routers"]["sk-app-blog"]["middlewares"] == ["sk-in", "sk-host-blog", "sk-gate-blog"]
    assert http["routers"]["sk-app-shop"]["middlewares"] == ["sk-in", "sk-host-shop", "sk-gate-shop"]
    taken = re.compile(http["middlewares"]["sk-gate-shop"]["forwardAuth"]["authResponseHeadersRegex"])
    elsewhere = re.compile(http["middlewares"]["sk-gate-blog"]["forwardAuth"]["authResponseHeadersRegex"])
    for name in ("X-Http-Method-Override", "X_Http_method", "X.method-Override", "X-Http_method-Override"):
        assert taken.search(name)
        assert not elsewhere.search(name)
    for name in ("X-Http-Methods", "X-Method", "My-X-Http-Method"):
        assert not taken.search(name)


FREE_TIER: dict[str, object] = {"id": "free", "name": "Free"}
PRO_TIER: dict[str, object] = {"id": "pro", "name": "Pro", "features": ["pro"], "internal": True}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"routes": [{"path": "/pro", "features": ["pro"]}], "tiers": [FREE_TIER, PRO_TIER]}, True),
        ({"anonymous": "refuse"}, True),
        ({"anonymous": "refuse", "enforce": False}, False),
        ({"routes": [{"path": "/", "min_tier": "free"}, {"path": "/x", "public": True}]}, False),
    ],
)
def test_method_overrides_are_removed_from_preflights_of_paid_paths(changes: dict[str, object], expected: bool) -> None:
    """It passes without a credential, and there are apps that take an OPTIONS for the GET that it says it is."""
    tree = json.loads(apps_json([("shop", ["shop.example.com"])]))
    tree["apps"][0] |= {"anonymous": "tag"} | changes
    http = traefik_document(plan(parse(json.dumps(tree).encode()), PUBLIC_URL), "secret")["http"]
    taken = re.compile(http["middlewares"]["sk-gate-shop"]["forwardAuth"]["authResponseHeadersRegex"])
    assert bool(taken.search("X_HTTP-Method-Override")) is expected


def test_generated_names_are_unique_for_similar_ids() -> None:
    apps = [("a", ["a.example", "b.example"]), ("a-2", ["c.example"]), ("in", ["d.example"]), ("public", ["e.example"])]
    routes = plan(parse(apps_json(apps)), PUBLIC_URL)
    names = [router.name for router in routes.routers]
    assert len(set(names)) == len(names) == 6
    hosts = {each.name: each.host for each in routes.middlewares if isinstance(each, HostHeader)}
    assert sorted(hosts.values()) == ["a.example", "b.example", "c.example", "d.example", "e.example"]


def test_a_thousand_apps_are_rendered_within_a_second() -> None:
    many = parse(apps_json([(f"app-{number}", [f"app-{number}.example"]) for number in range(1000)]))
    spent = []
    for _ in range(3):
        started = time.process_time()
        text = traefik_file(plan(many, PUBLIC_URL))
        spent.append(time.process_time() - started)
    assert min(spent) < 1
    assert text.count("forwardAuth:") == 1000


def test_labels_of_an_app_that_is_not_there_are_refused() -> None:
    with pytest.raises(ConfigError, match="no app 'shop'"):
        docker_labels(plan(catalog(), PUBLIC_URL), "shop")


def test_ingress_leads_to_traefik_and_never_to_an_app() -> None:
    routes = plan(catalog(traefik_url="https://traefik:443"), PUBLIC_URL)
    assert ingress(routes) == [
        {"hostname": "blog.example.com", "service": "https://traefik:443", "originRequest": {"matchSNItoHost": True}},
        {"hostname": "pay.example.com", "service": "https://traefik:443", "originRequest": {"matchSNItoHost": True}},
        {"service": "http_status:404"},
    ]
    assert dockflare_labels(routes, "blog") == {
        "dockflare.enable": "true",
        "dockflare.match_sni_to_host": "true",
        "dockflare.0.hostname": "blog.example.com",
        "dockflare.0.service": "https://traefik:443",
    }
    assert dockflare_labels(routes, None, "cloudflare.tunnel")["cloudflare.tunnel.0.hostname"] == "pay.example.com"
