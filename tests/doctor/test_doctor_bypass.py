"""Ways past the gate in what Traefik's API answers, each written out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.doctor.bypass import Expected, find_bypasses
from gateway.doctor.chains import SECRET, Middleware, Traefik, address_of

HOST, APP = "chat.test", "10.0.0.5:8080"
REGEX = "(?i)^x[^a-z0-9]*sk[^a-z0-9]"
CHAIN = (
    Middleware("sk-in", "headers", {"customRequestHeaders": {"X-SK-Gate": SECRET, "X-Forwarded-Uri": ""}}),
    Middleware("sk-gate-skai", "forwardAuth", {
        "address": "http://gate:8081/gate?app=skai", "trustForwardHeader": False, "authResponseHeadersRegex": REGEX,
    }),
)  # fmt: skip
EXPECTED = Expected(
    hosts={HOST: "skai"},
    chains=[{HOST: CHAIN}],
    upstreams={"skai": frozenset({"open-webui:8080"}), "blog": frozenset({"ghost:2368"})},
    public_host="pay.test",
    gates=frozenset(["gate:8081"]),
    secrets=("new-secret", "old-secret"),
    entry_points=("web",),
)
IN = {"headers": {"customRequestHeaders": {"X-Sk-Gate": "old-secret", "X-Forwarded-Uri": "", "Mine": "1"}}}
GATE = {
    "forwardAuth": {
        "address": "http://gate:8081/gate?app=skai", "trustForwardHeader": False, "authResponseHeadersRegex": REGEX,
        "maxBodySize": -1,
    },
}  # fmt: skip
OTHERS_GATE = {"forwardAuth": {"address": "http://gate:8081/gate?app=blog"}}
GATED = {"rule": f"Host(`{HOST}`)", "middlewares": ["in@file", "gate@file"], "service": "sk-app-skai", "priority": 1000}


def server(*urls: str) -> dict[str, Any]:
    return {"loadBalancer": {"servers": [{"url": url} for url in urls]}}


def traefik(
    routers: dict[str, Any] | None = None,
    middlewares: dict[str, Any] | None = None,
    services: dict[str, Any] | None = None,
    tcp: dict[str, Any] | None = None,
    *,
    ours: bool = True,
) -> Traefik:
    """A Traefik that is as it should be, and these things beside."""

    def named(things: dict[str, Any]) -> dict[str, Any]:
        full = {name if "@" in name else f"{name}@file": each for name, each in things.items()}
        return {name: {"name": name, "status": "enabled", **each} for name, each in full.items()}

    public = {"sk-public": {"rule": "Host(`pay.test`)", "service": "sk-public", "priority": 1000}}
    own = {"sk-app-skai": GATED} if ours else {}
    known = {"sk-app-skai": server(f"http://{APP}"), "sk-public": server("http://skpayments:8080"), **(services or {})}
    return Traefik(
        version="3.7.15",
        routers=named({**public, **own, **(routers or {})}),
        middlewares=named({"in": IN, "gate": GATE, "others": OTHERS_GATE, **(middlewares or {})}),
        services=named(known),
        tcp_routers=named(tcp or {}),
        tcp_services=named({"raw": {"loadBalancer": {"servers": [{"address": APP}]}}, "db": {"loadBalancer": {}}}),
        entry_points={},
    )


def findings(found: Traefik) -> list[str]:
    return [each.message for each in find_bypasses(found, EXPECTED) if each.state != "ok"]


def test_a_correct_installation_has_no_findings() -> None:
    found = find_bypasses(traefik(), EXPECTED)
    assert [(each.state, each.message) for each in found] == [
        ("ok", "2, none with an error"),
        ("ok", "2 routers; every one that reaches an app has its gate"),
        ("ok", "0 routers; none takes connections of an app"),
    ]


ELSEWHERE = {"elsewhere": server("http://10.0.0.9:80")}


@pytest.mark.parametrize(
    ("routers", "more"),
    [
        ({"blog": {"rule": "Host(`blog.test`)", "service": "elsewhere"}}, {"services": ELSEWHERE}),
        ({"rest": {"rule": "PathPrefix(`/`)", "service": "elsewhere", "priority": 999}}, {"services": ELSEWHERE}),
        ({"tls": {"rule": f"Host(`{HOST}`)", "service": "noop@internal", "priority": 9999}}, {}),
        ({"off": {"rule": f"Host(`{HOST}`)", "service": "sk-app-skai", "status": "disabled", "error": []}}, {}),
        ({"more": {**GATED, "rule": f"Host(`{HOST}`) && PathPrefix(`/api`)", "priority": 5000}}, {}),
        ({"chained": {**GATED, "middlewares": ["all"]}},
         {"middlewares": {"all": {"chain": {"middlewares": ["in", "mine", "gate"]}}, "mine": {"headers": {}}}}),
        ({"parent": {**GATED, "service": None},
          "child": {"rule": "Header(`X-SK-Tier`, `pro`)", "service": "sk-app-skai", "parentRefs": ["parent"]}}, {}),
        ({"other-name": {**GATED, "rule": "Host(`www.test`)"}}, {}),
    ],
)  # fmt: skip
def test_a_route_that_does_not_bypass_the_gate_is_not_reported(routers: dict[str, Any], more: dict[str, Any]) -> None:
    lines = findings(traefik(routers, **more))
    assert [line for line in lines if "off@file" not in line] == []


PAST = [
    ("a container that is exposed by default",
     {"open-webui@docker": {"rule": "Host(`open-webui-compose`)", "service": "open-webui@docker"}},
     {"services": {"open-webui@docker": server(f"http://{APP}")}},
     [f"open-webui@docker (Host(`open-webui-compose`)) leads to skai ({APP}) without the gate"]),
    ("the upstream by its name",
     {"old": {"rule": "Host(`old.test`)", "service": "old"}}, {"services": {"old": server("http://open-webui:8080/")}},
     ["old@file (Host(`old.test`)) leads to skai (open-webui:8080) without the gate"]),
    ("an upstream behind other services",
     {"old": {"rule": "Host(`old.test`)", "service": "failing"}},
     {"services": {"failing": {"failover": {"service": "copy", "fallback": "none"}},
                   "copy": {"mirroring": {"service": "weigh", "mirrors": []}},
                   "weigh": {"weighted": {"services": [{"name": "sk-app-skai@file", "weight": 1}]}}}},
     [f"old@file (Host(`old.test`)) leads to skai ({APP}) without the gate"]),
    ("services that lead to each other", {"old": {"rule": "Host(`old.test`)", "service": "a"}},
     {"services": {"a": {"weighted": {"services": [{"name": "b"}]}}, "b": {"weighted": {"services": [{"name": "a"}]}}}},
     []),
    ("the gate of another app",
     {"old": {"rule": "Host(`old.test`)", "service": "sk-app-skai", "middlewares": ["in", "others"]}}, {},
     [f"old@file (Host(`old.test`)) leads to skai ({APP}) without the gate"]),
    ("an address that only looks like the gate",
     {"old": {"rule": "Host(`old.test`)", "service": "sk-app-skai", "middlewares": ["fake"]}},
     {"middlewares": {"fake": {"forwardAuth": {"address": "http://evil:8081/gate?app=skai"}}}},
     [f"old@file (Host(`old.test`)) leads to skai ({APP}) without the gate"]),
    ("a gate that is called for two apps",
     {"old": {"rule": "Host(`old.test`)", "service": "sk-app-skai", "middlewares": ["two"]}},
     {"middlewares": {"two": {"forwardAuth": {"address": "http://gate:8081/gate?app=skai&app=blog"}}}},
     [f"old@file (Host(`old.test`)) leads to skai ({APP}) without the gate"]),
    ("a path of the host", {"old": {"rule": f"Host(`{HOST}`) && Path(`/x`)", "service": "sk-public"}}, {},
     [f"old@file (Host(`{HOST}`) && Path(`/x`)) serves {HOST} without the gate"]),
    ("a catch-all before the gate's router",
     {"rest": {"rule": "PathPrefix(`/`)", "service": "elsewhere", "priority": 1001}}, {"services": ELSEWHERE},
     [f"rest@file (PathPrefix(`/`)) serves {HOST} without the gate, before the gate's router"]),
    ("a child router below a router without the gate",
     {"top": {"rule": "Host(`old.test`)"},
      "child": {"rule": "Header(`a`, `b`)", "service": "sk-app-skai", "parentRefs": ["top"]}}, {},
     [f"child@file (Header(`a`, `b`)) leads to skai ({APP}) without the gate"]),
    ("a child router below two routers, one of them without the gate",
     {"top": {"rule": "Host(`old.test`)"}, "good": {**GATED, "service": None, "rule": "Host(`good.test`)"},
      "child": {"rule": "Header(`a`, `b`)", "service": "sk-app-skai", "parentRefs": ["top", "good"]}}, {},
     [f"child@file (Header(`a`, `b`)) leads to skai ({APP}) without the gate"]),
    ("our own broken router", {"sk-app-skai": {**GATED, "status": "disabled", "error": ["no such middleware"]}}, {},
     [f"sk-app-skai@file (Host(`{HOST}`)): no such middleware", f"no router with the gate serves {HOST}"]),
    ("our own broken router, beside one that serves a single path with the gate",
     {"sk-app-skai": {**GATED, "status": "disabled", "error": ["no such middleware"]},
      "sk-arrived-skai": {**GATED, "rule": f"Path(`/a`) && Host(`{HOST}`)", "service": "sk-public"}}, {},
     [f"sk-app-skai@file (Host(`{HOST}`)): no such middleware", f"no router with the gate serves {HOST}"]),
    ("somebody else's broken router", {"x": {"rule": "Host(`x`)", "status": "disabled", "error": ["bad"]}}, {},
     ["x@file (Host(`x`)): bad"]),
    ("our own router without the gate", {"sk-app-skai": {**GATED, "middlewares": ["in@file"]}}, {},
     [f"no router with the gate serves {HOST}; without it: sk-app-skai@file"]),
]  # fmt: skip


@pytest.mark.parametrize(("routers", "more", "lines"), [each[1:] for each in PAST], ids=[each[0] for each in PAST])
def test_a_way_past_the_gate_is_reported(routers: dict[str, Any], more: dict[str, Any], lines: list[str]) -> None:
    assert findings(traefik(routers, **more)) == lines


@pytest.mark.parametrize(
    ("middlewares", "lines"),
    [
        ({"in": {"headers": {"customRequestHeaders": {"X-SK-Gate": "third", "X-Forwarded-Uri": ""}}}},
         ["sk-in is not among its middlewares, or not in its place"]),
        ({"gate": {"forwardAuth": {**GATE["forwardAuth"], "trustForwardHeader": True}}},
         ["routes are out of date: sk-gate-skai is not among its middlewares, or not in its place"]),
    ],
)  # fmt: skip
def test_names_that_are_not_ours_are_still_compared(middlewares: dict[str, Any], lines: list[str]) -> None:
    """Such as labels that somebody wrote by hand: what counts is what the middlewares do."""
    expected = [line if line.startswith("routes") else f"routes are out of date: {line}" for line in lines]
    assert findings(traefik(middlewares=middlewares)) == expected


def test_the_gate_must_come_after_what_scrubs_the_request() -> None:
    line = "routes are out of date: sk-gate-skai is not among its middlewares, or not in its place"
    assert findings(traefik({"sk-app-skai": {**GATED, "middlewares": ["gate@file", "in@file"]}})) == [line]
    ours = {"sk-in": IN, "sk-gate-skai": GATE}
    for names, lines in ((["sk-in", "sk-gate-skai"], []), (["sk-gate-skai", "sk-in"], [line])):
        assert findings(traefik({"sk-app-skai": {**GATED, "middlewares": names}}, ours)) == lines


def test_the_plugin_is_a_gate_too() -> None:
    plugin = {"plugin": {"skpayments": {"app": "skai", "gateUrl": ["http://gate:8081"], "secret": "new-secret"}}}
    chain = (CHAIN[0], Middleware("sk-gate-skai", "plugin", {"skpayments": {**plugin["plugin"]["skpayments"],
                                                                            "secret": SECRET}}))  # fmt: skip
    expected_installation = replace(EXPECTED, chains=[{HOST: CHAIN}, {HOST: chain}])
    found = find_bypasses(traefik(middlewares={"gate": plugin}), expected_installation)
    assert {each.state for each in found} == {"ok"}
    broken = {"plugin": {"skpayments": {**plugin["plugin"]["skpayments"], "secret": ""}}}
    lines = [
        each.message
        for each in find_bypasses(traefik(middlewares={"sk-gate-skai": broken, "gate": broken}), expected_installation)
    ]
    assert lines[-2:] == ["routes are out of date: sk-gate-skai is not among its middlewares, or not in its place",
                          "0 routers; none takes connections of an app"]  # fmt: skip


@pytest.mark.parametrize(
    ("urls", "state"),
    [
        (["http://gate:8081", "http://gate-2:8081"], "ok"),
        ("http://gate:8081,http://gate-2:8081", "ok"),  # from labels
        (["http://gate:8081", "http://evil:8081"], "bad"),
        ([], "bad"),
    ],
)
def test_every_address_of_the_plugin_must_be_a_gate(urls: object, state: str) -> None:
    options = {"app": "skai", "gateUrl": urls, "secret": "new-secret"}
    expected = replace(
        EXPECTED,
        gates=frozenset(["gate:8081", "gate-2:8081"]),
        chains=[{HOST: (CHAIN[0], Middleware("sk-gate-skai", "plugin", {"skpayments": {"app": "skai"}}))}],
    )
    found = find_bypasses(traefik(middlewares={"gate": {"plugin": {"skpayments": options}}}), expected)
    assert ({each.state for each in found} == {"ok"}) == (state == "ok")


@pytest.mark.parametrize(
    ("router", "lines"),
    [
        ({"rule": "HostSNI(`db.test`)", "service": "db", "entryPoints": ["web"]}, []),
        ({"rule": "HostSNI(`*`)", "service": "db", "entryPoints": ["postgres"]}, []),
        ({"rule": "HostSNI(`*`)", "service": "db", "entryPoints": ["web"], "status": "disabled"}, []),
        ({"rule": "HostSNI(`*`)", "service": "db", "entryPoints": ["web"]},
         [f"t@file (HostSNI(`*`)) takes {HOST} before the gate"]),
        ({"rule": f"HostSNI(`{HOST}`)", "service": "db", "entryPoints": ["postgres"]},
         [f"t@file (HostSNI(`{HOST}`)) takes {HOST} before the gate"]),
        ({"rule": "HostSNI(`*`)", "service": "raw", "entryPoints": ["postgres"]},
         ["t@file (HostSNI(`*`)) leads to skai without the gate"]),
    ],
)  # fmt: skip
def test_tcp_routers_come_first(router: dict[str, Any], lines: list[str]) -> None:
    assert findings(traefik(tcp={"t": router})) == lines


def test_a_missing_router_of_the_service_is_reported() -> None:
    found = traefik({"sk-public": {"rule": "Host(`pay.test`) && Path(`/buy`)", "service": "sk-public"}})
    assert findings(found) == ["no router serves pay.test, so neither Stripe nor buyers reach SKPayments"]


def test_a_host_without_any_router_is_reported() -> None:
    assert findings(traefik(ours=False)) == [f"no router with the gate serves {HOST}"]


def test_remedies_name_the_place() -> None:
    found = find_bypasses(
        traefik(
            {"a@docker": {"rule": f"Host(`{HOST}`) && Path(`/a`)", "service": "x"}},
            tcp={"t@http": {"rule": f"HostSNI(`{HOST}`)", "service": "db"}},
        ),
        EXPECTED,
    )
    remedies = [each.remedy for each in found if each.state == "bad"]
    assert "exposedByDefault: false" in remedies[0]
    assert remedies[1] == "remove t@http from the http provider"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://a:80/", "a:80"), ("http://a", "a:80"), ("https://a", "a:443"), ("h2c://a:1", "a:1"),
        ("a:5432", "a:5432"), ("10.0.0.1:80", "10.0.0.1:80"), ("http://[::1]:80", "::1:80"), ("http://a:x", "http://a:x"),
        ("", "None:80"),
    ],
)  # fmt: skip
def test_addresses_in_one_spelling(url: str, address: str) -> None:
    assert address_of(url) == address


PROXY = {"forwardAuth": {"address": "http://oauth2-proxy:4180/", "authResponseHeaders": ["X-Auth-Request-User"]}}
BEHIND_PROXY = replace(
    EXPECTED,
    sign_in={"skai": ["oauth2-proxy@file"]},
    chains=[{HOST: (CHAIN[0], Middleware("oauth2-proxy@file", "", {}), CHAIN[1])}],
)
CALLBACK_RULE = f"Host(`{HOST}`) && PathPrefix(`/oauth2/`)"


def behind_proxy(rule: str, url: str, middleware: dict[str, Any], *more: str) -> list[str]:
    """The messages with a sign-in proxy before the gate, and a router of its own for `rule`."""
    gated = {**GATED, "middlewares": ["in", "oauth2-proxy", *more, "gate"]}
    found = traefik(
        {"sk-app-skai": gated, "callback": {"rule": rule, "service": "proxy", "priority": 2000}},
        {"oauth2-proxy": middleware, "auth": PROXY, "errors": {"errors": {"status": ["401"]}}},
        {"proxy": server(url)},
    )
    return [each.message for each in find_bypasses(found, BEHIND_PROXY) if each.state != "ok"]


@pytest.mark.parametrize("url", ["http://oauth2-proxy:4180", "http://172.18.0.9:4180"])
@pytest.mark.parametrize("middleware", [PROXY, {"chain": {"middlewares": ["errors", "auth"]}}])
def test_the_callback_of_the_sign_in_proxy_is_no_way_past(url: str, middleware: dict[str, Any]) -> None:
    """Its middleware may be a chain of its own: the sign-in page for browsers, then the question."""
    assert behind_proxy(CALLBACK_RULE, url, middleware) == []


@pytest.mark.parametrize(
    ("rule", "url"),
    [
        (CALLBACK_RULE, f"http://{APP}"),  # the app itself
        (CALLBACK_RULE, "http://10.0.0.9:9000"),  # neither the proxy nor the app
        (f"Host(`{HOST}`)", "http://oauth2-proxy:4180"),  # the whole host
    ],
)
def test_a_router_that_only_resembles_the_callback_is_reported(rule: str, url: str) -> None:
    lines = behind_proxy(rule, url, PROXY)
    assert any(line.startswith(f"callback@file ({rule}) serves {HOST} without the gate") for line in lines)


def test_without_a_sign_in_proxy_in_apps_json_nothing_is_its_callback() -> None:
    found = traefik({"callback": {"rule": CALLBACK_RULE, "service": "proxy"}}, {"oauth2-proxy": PROXY},
                    {"proxy": server("http://oauth2-proxy:4180")})  # fmt: skip
    assert findings(found) == [f"callback@file ({CALLBACK_RULE}) serves {HOST} without the gate"]
