"""Everything that apps.json may not say, each with the line that an operator reads; T9: one bad field hides no other."""

# ruff: noqa: E501  # a row of a table is one line, however long the message
from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.catalog import parse
from gateway.errors import ConfigError

Tree = dict[str, Any]


def document(*app_ids: str) -> Tree:
    """A valid document with these apps, each with a free and a paid tier."""
    return {
        "apps": [
            {
                "id": app_id,
                "name": "An app",
                "hosts": [f"{app_id}.example.com"],
                "upstream": f"http://{app_id}:8080",
                "identity": [{"kind": "openwebui", "secret": f"env:{app_id.upper()}"}],
                "urls": {"success": "https://a.example.com/?ok=1", "cancel": "https://a.example.com/"},
                "tiers": [
                    {"id": "free", "name": "Free", "limits": {"rpm_limit": 10}},
                    {
                        "id": "pro",
                        "name": "Pro",
                        "prices": [{"price_id": f"price_{app_id}"}],
                        "features": ["images"],
                        "limits": {},
                    },
                ],
                "routes": [{"path": "/images", "min_tier": "pro"}],
            }
            for app_id in app_ids or ("a",)
        ]
    }


def problems(tree: Tree | bytes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(tree if isinstance(tree, bytes) else json.dumps(tree).encode())
    return list(caught.value.problems)


def put(where: str, value: object, *app_ids: str) -> list[str]:
    """The problems of a valid document with one value set; `where` is such as `apps.0.tiers.1.id`."""
    tree = document(*app_ids)
    place: Any = tree
    *parents, last = where.split(".")
    for part in parents:
        place = place[int(part)] if part.isdigit() else place[part]
    if last.isdigit():
        place[int(last)] = value
    else:
        place[last] = value
    return problems(tree)


def test_the_document_that_the_tests_break_is_valid() -> None:
    catalog = parse(json.dumps(document("a", "b")).encode())
    assert list(catalog.apps) == ["a", "b"]


HOST = 'expected a host name, such as "chat.example.com"'
URL = 'expected a URL, such as "https://chat.example.com/"'
ORIGIN = 'expected the URL of a service, such as "http://open-webui:8080"'
WEB_ORIGIN = 'expected the origin of a web page, such as "https://app.example.com"'
ALONE = "list each origin, because error responses are read with the user's cookies"
BARE = "scheme, host and a port other than the default; no path, not even /"
PATH = 'expected a path, such as "/api/v1/notes"'
WILDCARD = "no wildcards or placeholders: a rule covers its path and everything below it"
APP_ID = 'expected an id of a-z, 0-9 and -, 63 characters at most, such as "my-app"'
TIER_ID = 'expected an id of a-z, 0-9, _ and -, 63 characters at most, such as "pro"'
NAME = "expected a name of 1 to 100 characters"
TEMPLATE = "{{ starts a template in Traefik's files"
TICK = "a back-tick ends a text in Traefik's rules"
DOLLAR = "$ starts a variable in compose files"
HIDDEN = "it contains a control character or an invisible one"
LABEL = "between dots 1 to 63 of a-z, 0-9 and -, no - at either end"
SECRET = 'expected "env:NAME" or "file:/path" where the secret is, got another text, not shown here'
BUDGET = 'expected a duration of LiteLLM, such as "1d" (s, m, h, d, w or mo)'
GRACE = 'expected a duration, such as "7d", "12h" or "0d"'
COUNT = "expected a whole number >= 0 or null"
USER_ID = 'expected a template such as "{app_id}:{user_id}"'

# (where, what is put there, the message)
ONE_VALUE: list[tuple[str, object, str]] = [
    ("apps.0.id", "A", f'{APP_ID}, got "A"'),
    ("apps.0.id", "-a", f'{APP_ID}, got "-a"'),
    ("apps.0.id", "a_b", f'{APP_ID}, got "a_b"'),
    ("apps.0.id", "a\n", f'{APP_ID}, got "a\\n"'),
    ("apps.0.id", "x" * 64, f'{APP_ID}, got "{"x" * 60}…"'),
    ("apps.0.id", 7, f"{APP_ID}, got 7"),
    ("apps.0.id", None, f"{APP_ID}, got null"),
    ("apps.0.id", ["a"], f"{APP_ID}, got a list"),
    ("apps.0.name", "", f'{NAME}, got ""'),
    ("apps.0.name", "a`b", f'{NAME}, got "a`b": {TICK}'),
    ("apps.0.name", '{{ env "X" }}', f'{NAME}, got "{{{{ env \\"X\\" }}}}": {TEMPLATE}'),
    ("apps.0.name", "US$", f'{NAME}, got "US$": {DOLLAR}'),
    ("apps.0.name", "a\u202eb", f'{NAME}, got "a\\u202eb": {HIDDEN}'),
    ("apps.0.hosts", [], "expected at least one, got an empty list"),
    ("apps.0.hosts", "a.example.com", "expected a list, got a text"),
    ("apps.0.hosts.0", "a`) || PathPrefix(`/", f'{HOST}, got "a`) || PathPrefix(`/": {TICK}'),
    ("apps.0.hosts.0", '{{ env "X" }}.example.com', f'{HOST}, got "{{{{ env \\"X\\" }}}}.example.com": {TEMPLATE}'),
    ("apps.0.hosts.0", "${HOST}", f'{HOST}, got "${{HOST}}": {DOLLAR}'),
    ("apps.0.hosts.0", "*.example.com", f'{HOST}, got "*.example.com": no wildcards'),
    ("apps.0.hosts.0", "a.example.com:443", 'expected a host name without port, got "a.example.com:443". Use "a.example.com".'),
    ("apps.0.hosts.0", "https://a.example.com", 'expected a host name without scheme, got "https://a.example.com". Use "a.example.com".'),
    ("apps.0.hosts.0", "https://A.example.com:443/", 'expected a host name without scheme and port and path, got "https://A.example.com:443/". Use "a.example.com".'),
    ("apps.0.hosts.0", "a.example.com.", 'expected a host name without closing dot, got "a.example.com.". Use "a.example.com".'),
    ("apps.0.hosts.0", "https://u:p@a.example.com", f"{HOST}, got a text with // and @, not shown as it may hold a password: no port"),
    ("apps.0.hosts.0", "a.example.com/x", 'expected a host name without path, got "a.example.com/x". Use "a.example.com".'),
    ("apps.0.hosts.0", "a_b.example.com", f'{HOST}, got "a_b.example.com": no underscores'),
    ("apps.0.hosts.0", "a b", f'{HOST}, got "a b": no blanks'),
    ("apps.0.hosts.0", "a..b", f'{HOST}, got "a..b": a part between dots is empty'),
    ("apps.0.hosts.0", "a.", 'expected a host name without closing dot, got "a.". Use "a".'),
    ("apps.0.hosts.0", "-a.b", f'{HOST}, got "-a.b": {LABEL}'),
    ("apps.0.hosts.0", "x" * 64, f'{HOST}, got "{"x" * 60}…": {LABEL}'),
    ("apps.0.hosts.0", "a\r\nb", f'{HOST}, got "a\\r\\nb": {HIDDEN}'),
    ("apps.0.hosts.0", "☃\u0301☃-☕.example", f'{HOST}, got "☃\u0301☃-☕.example": it is not a valid internationalised domain name'),
    ("apps.0.hosts.0", "xn--a.example", f'{HOST}, got "xn--a.example": it is not a valid internationalised domain name'),
    ("apps.0.hosts.0", "a." * 127 + "a", f'{HOST}, got "{"a." * 30}…": 253 characters at most'),
    ("apps.0.hosts.0", "é." * 60 + "a", f'{HOST}, got "{"é." * 30}…": 253 characters at most'),
    ("apps.0.cors", "https://a.example", "expected a list, got a text"),
    ("apps.0.cors", ["*"], f'{WEB_ORIGIN}, got "*": {ALONE}'),
    ("apps.0.cors", ["null"], f'{WEB_ORIGIN}, got "null": {ALONE}'),
    ("apps.0.cors", ["a.example"], f'{WEB_ORIGIN}, got "a.example": it must start with http:// or https://'),
    ("apps.0.cors", ["https://a.example/"], f'{WEB_ORIGIN}, got "https://a.example/": {BARE}'),
    ("apps.0.cors", ["https://a.example/x"], f'{WEB_ORIGIN}, got "https://a.example/x": {BARE}'),
    ("apps.0.cors", ["https://a.example?"], f'{WEB_ORIGIN}, got "https://a.example?": {BARE}'),
    ("apps.0.cors", ["https://A.example"], f'{WEB_ORIGIN}, got "https://A.example": in lower case, as browsers send it'),
    ("apps.0.cors", ["https://a.example:443"], f'{WEB_ORIGIN}, got "https://a.example:443": without the default port, as browsers send it'),
    ("apps.0.cors", ["http://a.example:80"], f'{WEB_ORIGIN}, got "http://a.example:80": without the default port, as browsers send it'),
    ("apps.0.cors", ["https://*.example"], f'{WEB_ORIGIN}, got "https://*.example": the host is not valid'),
    ("apps.0.cors", ["https://a.example", "https://a.example"], "the same origin is used at apps[0].cors[0] too"),
    ("apps.0.upstream", "open-webui:8080", f'{ORIGIN}, got "open-webui:8080": it must start with http:// or https://'),
    ("apps.0.upstream", "ftp://a", f'{ORIGIN}, got "ftp://a": it must start with http:// or https://'),
    ("apps.0.upstream", "http:///x", f'{ORIGIN}, got "http:///x": the host is not valid'),
    ("apps.0.upstream", "http://a/x", f'{ORIGIN}, got "http://a/x": no path'),
    ("apps.0.upstream", "http://a?x", f'{ORIGIN}, got "http://a?x": no query and no fragment'),
    ("apps.0.upstream", "http://a:0", f'{ORIGIN}, got "http://a:0": the port must be from 1 to 65535'),
    ("apps.0.upstream", "http://a:99999", f'{ORIGIN}, got "http://a:99999": the port must be from 1 to 65535'),
    ("apps.0.upstream", "http://a\tb", f'{ORIGIN}, got "http://a\\tb": {HIDDEN}'),
    ("apps.0.upstream", "http://$A", f'{ORIGIN}, got "http://$A": {DOLLAR}'),
    ("apps.0.urls.success", "/upgraded", f'{URL}, got "/upgraded": it must start with http:// or https://'),
    ("apps.0.urls.cancel", "javascript:alert(1)", f'{URL}, got "javascript:alert(1)": it must start with http:// or https://'),
    ("apps.0.sign_in_url", "https://a.example/`", f'{URL}, got "https://a.example/`": {TICK}'),
    ("apps.0.urls", {"success": "https://a.example/"}, "required, but missing"),
    ("apps.0.grace", "7", f'{GRACE}, got "7": a whole number and s, m, h or d'),
    ("apps.0.grace", "91d", f'{GRACE}, got "91d": 90d at most'),
    ("apps.0.grace", 7, f"{GRACE}, got 7"),
    ("apps.0.anonymous", "allow", 'expected one of "tag", "refuse", got "allow"'),
    ("apps.0.enforce", "false", 'expected true or false, got "false"'),
    ("apps.0.enforce", 0, "expected true or false, got 0"),
    ("apps.0.api_key", "skp_live_0123456789abcdef", f"{SECRET}: write a reference, never the secret itself"),
    ("apps.0.api_key", "env:MY KEY", f"{SECRET}: after env: put the name of a variable (A-Z a-z 0-9 and _)"),
    ("apps.0.api_key", "file:key.txt", f"{SECRET}: after file: put the absolute path of a file, such as /run/secrets/x"),
    ("apps.0.api_key", "file:/run/../etc/x", f"{SECRET}: after file: put the absolute path of a file, such as /run/secrets/x"),
    ("apps.0.identity", [], "expected at least one, got an empty list"),
    ("apps.0.identity.0.kind", "saml", 'expected one of "openwebui", "jwt", "header", "litellm_key", "user_key", got "saml"'),
    ("apps.0.identity.0", {"kind": "user_key", "secret": "env:A"}, "not a key of kind user_key, which has none; its keys are kept hashed"),
    ("apps.0.identity.0", {"kind": "openwebui"}, "required for openwebui: where its WEBUI_SECRET_KEY is"),
    ("apps.0.litellm", {"mode": "both"}, 'expected one of "customer", "internal_user", got "both"'),
    ("apps.0.litellm", {"mode": "customer", "user_id": "x"}, f'{USER_ID}, got "x": it holds {{user_id}} once'),
    ("apps.0.litellm", {"mode": "customer", "user_id": "{user_id}{user_id}"}, f'{USER_ID}, got "{{user_id}}{{user_id}}": it holds {{user_id}} once'),
    ("apps.0.litellm", {"mode": "customer", "user_id": "{email}{user_id}"}, f'{USER_ID}, got "{{email}}{{user_id}}": besides these only A-Z a-z 0-9 and _ . : @ | / - are allowed'),
    ("apps.0.litellm", {"mode": "customer", "user_id": "{app_id}{user_id}{app_id}"}, f'{USER_ID}, got "{{app_id}}{{user_id}}{{app_id}}": it holds {{app_id}} once at most'),
    ("apps.0.tiers", [], "expected at least one, got an empty list"),
    ("apps.0.tiers", {"free": {}}, "expected a list, got an object"),
    ("apps.0.tiers.0.id", "Free", f'{TIER_ID}, got "Free"'),
    ("apps.0.tiers.0.prices", [{"price_id": "price_1"}], "the first tier is what everybody has without paying, so it has no prices"),
    ("apps.0.tiers.0.internal", True, "the first tier is what everybody has, so it cannot be internal"),
    ("apps.0.tiers.1.was", ["free"], "the same tier id is used at apps[0].tiers[0].id too"),
    ("apps.0.tiers.1.prices.0", {}, "expected either price_id or lookup_key, got neither"),
    ("apps.0.tiers.1.prices.0", {"price_id": "a", "lookup_key": "b"}, "expected either price_id or lookup_key, got both"),
    ("apps.0.tiers.1.prices.0.price_id", "", 'expected the id of a Stripe price, such as "price_123", got ""'),
    ("apps.0.tiers.1.prices.0.price_id", "prod_1", 'expected the id of a Stripe price, such as "price_123", got "prod_1": prod_ is no price'),
    ("apps.0.other_prices", [{"price_id": "plink_1"}], 'expected the id of a Stripe price, such as "price_123", got "plink_1": plink_ is no price'),
    ("apps.0.other_prices", [{"product_id": "price_1"}], 'expected the id of a Stripe product, such as "prod_123", got "price_1": price_ is no product'),
    ("apps.0.tiers.1.prices.0.unit_amount", 20.5, "expected a whole number of minor units (cents) >= 0, got 20.5"),
    ("apps.0.tiers.1.prices.0.currency", "USD", 'expected three lower-case letters, such as "usd", got "USD"'),
    ("apps.0.tiers.1.prices.0.interval", "fortnight", 'expected one of "day", "week", "month", "year", got "fortnight"'),
    ("apps.0.tiers.1.features", ["a b"], 'expected a feature of a-z, 0-9, _ . and -, 63 characters at most, such as "images", got "a b"'),
    ("apps.0.tiers.1.features", ["images", "images"], "the same feature is used at apps[0].tiers[1].features[0] too"),
    ("apps.0.tiers.0.limits.rpm_limit", "60", f'{COUNT}, got "60"'),
    ("apps.0.tiers.0.limits.rpm_limit", True, f"{COUNT}, got true"),
    ("apps.0.tiers.0.limits.tpm_limit", -1, f"{COUNT}, got -1"),
    ("apps.0.tiers.0.limits.tpm_limit", 1.0, f"{COUNT}, got 1.0"),
    ("apps.0.tiers.0.limits.max_budget", -0.01, "expected a number >= 0 or null, got -0.01"),
    ("apps.0.tiers.0.limits.max_budget", "1", 'expected a number >= 0 or null, got "1"'),
    ("apps.0.tiers.0.limits.max_budget", True, "expected a number >= 0 or null, got true"),
    ("apps.0.tiers.0.limits.budget_duration", "0d", f'{BUDGET}, got "0d"'),
    ("apps.0.tiers.0.limits.budget_duration", "1 day", f'{BUDGET}, got "1 day"'),
    ("apps.0.tiers.0.limits.budget_duration", "daily", f'{BUDGET}, got "daily"'),
    ("apps.0.tiers.0.limits.budget_duration", None, f"{BUDGET}, got null"),
    ("apps.0.tiers.0.limits.models", [], "expected at least one, got an empty list"),
    ("apps.0.tiers.0.limits.models", [""], 'expected the name of a model, got ""'),
    ("apps.0.routes.0.path", "images", f'{PATH}, got "images": it starts with /'),
    ("apps.0.routes.0.path", "/a/../b", f'{PATH}, got "/a/../b": no . or .. between slashes'),
    ("apps.0.routes.0.path", "/a//b", f'{PATH}, got "/a//b": no empty segment: neither // nor / at the end'),
    ("apps.0.routes.0.path", "/a/", f'{PATH}, got "/a/": no empty segment: neither // nor / at the end'),
    ("apps.0.routes.0.path", "/a/*", f'{PATH}, got "/a/*": {WILDCARD}'),
    ("apps.0.routes.0.path", "/a*", f'{PATH}, got "/a*": {WILDCARD}'),
    ("apps.0.routes.0.path", "/a/(.*)", f'{PATH}, got "/a/(.*)": {WILDCARD}'),
    ("apps.0.routes.0.path", "/users/:id/a", f'{PATH}, got "/users/:id/a": {WILDCARD}'),
    ("apps.0.routes.0.path", "/a?b", f'{PATH}, got "/a?b": no query and no fragment'),
    ("apps.0.routes.0.path", "/%2e%2e", f'{PATH}, got "/%2e%2e": no encoded characters'),
    ("apps.0.routes.0.path", "/a`", f'{PATH}, got "/a`": {TICK}'),
    ("apps.0.routes.0.path", "/.skpayments/upgrade", f'{PATH}, got "/.skpayments/upgrade": /.skpayments is reserved for SKPayments'),
    ("apps.0.routes.0.path", "/é", f'{PATH}, got "/é": only A-Z a-z 0-9 and . _ ~ ! & ( ) + , = : @ - are allowed between slashes'),
    ("apps.0.routes.0.path", "/a\\b", f'{PATH}, got "/a\\\\b": only A-Z a-z 0-9 and . _ ~ ! & ( ) + , = : @ - are allowed between slashes'),
    ("apps.0.routes.0.min_tier", "prp", 'expected a tier of this app, got "prp"; did you mean "pro"?'),
    ("apps.0.routes.0.min_tier", "gold", 'expected a tier of this app, got "gold"; choose from "free", "pro"'),
    ("apps.0.routes.0.features", ["image"], 'expected a feature of a tier of this app, got "image"; did you mean "images"?'),
    ("apps.0.routes.0", {"path": "/x", "public": True, "min_tier": "pro"}, "expected either public or min_tier and features, got both"),
    ("apps.0.routes.0", {"path": "/x"}, "expected public, min_tier or features, got none"),
    ("apps.0.routes.0", {"path": "/x", "public": False}, "expected public, min_tier or features, got none"),
    ("apps.0.routes.0.methods", ["post"], 'expected an HTTP method in upper case, such as "POST", got "post"'),
    ("apps.0.routes.0.methods", ["PSOT"], 'expected an HTTP method in upper case, such as "POST", got "PSOT"'),
    ("apps.0.was", ["a"], "the same app id is used at apps[0].id too"),
    ("apps.0.upstrem", "http://a", 'unknown key; did you mean "upstream"?'),
    ("apps.0.tiers.0.limits.rpm_limits", 5, 'unknown key; did you mean "rpm_limit"?'),
    ("apps.0.zzzz", 5, "unknown key"),
    ("app", [], 'unknown key; did you mean "apps"?'),
    ("apps.0.tiers.0.limits.rpm", 5, 'unknown key; did you mean "rpm_limit"?'),
    ("apps.0.tiers.0.limits.tpm", 5, 'unknown key; did you mean "tpm_limit"?'),
    ("apps.0.tiers.0.limits.budget", 5, 'unknown key; did you mean "max_budget"?'),
    ("apps.0.tiers.0.limits.rpmLimit", 5, 'unknown key; did you mean "rpm_limit"?'),
    ("apps.0.tiers.0.limits.MAX-BUDGET", 5, 'unknown key; did you mean "max_budget"?'),
    ("apps.0.tiers.0.limits.xy", 5, "unknown key"),
    ("apps", {}, "expected a list, got an object"),
    ("apps", [{}] * 5001, "expected 5000 at most"),
    ("apps.0.was", [f"x{number}" for number in range(101)], "expected 100 at most"),
    ("apps.0", "a", "expected an object, got a text"),
    ("routing", {"gate_url": ["http://a/gate"]}, f'{ORIGIN}, got "http://a/gate": no path'),
    ("routing", {"gate_url": []}, "expected at least one, got an empty list"),
    ("routing", {"gate_url": ["http://a", "http://b"]},
     'expected one URL, got 2: ForwardAuth calls one address; use one name for all gates, or "gate": "plugin"'),
    ("routing", {"entry_points": []}, "expected at least one, got an empty list"),
    ("routing", {"entry_points": ["a,b"]}, 'expected a name of A-Z, a-z, 0-9, _ . and -, such as "websecure", got "a,b"'),
    ("routing", {"network": "${NET}"}, 'expected a name of A-Z, a-z, 0-9, _ . and -, such as "websecure", got "${NET}"'),
    ("routing", {"cert_resolver": "le@file"}, 'expected a name of A-Z, a-z, 0-9, _ and -, such as "letsencrypt", or null, got "le@file"'),
]  # fmt: skip


@pytest.mark.parametrize(("where", "value", "message"), ONE_VALUE, ids=lambda item: repr(item)[:40])
def test_one_wrong_value_is_one_line(where: str, value: object, message: str) -> None:
    lines = put(where, value)
    assert any(line.endswith(f": {message}") for line in lines), lines
    place = "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in where.split(".")).lstrip(".")
    assert all(line.startswith(f"apps.json: {place}") for line in lines), lines
    assert len(lines) == 1, lines


def test_the_line_is_as_the_manual_shows_it() -> None:
    assert put("apps.0.tiers.1.limits", {"rpm_limit": "60"}) == [
        'apps.json: apps[0].tiers[1].limits.rpm_limit: expected a whole number >= 0 or null, got "60"'
    ]


# (two apps, changed by this, the message)
def _same_price(tree: Tree) -> None:
    tree["apps"][1]["tiers"][1]["prices"].append({"price_id": "price_a"})


def _same_lookup_key(tree: Tree) -> None:
    for app in tree["apps"]:
        app["tiers"][1]["prices"] = [{"lookup_key": "k"}]


def _same_id(tree: Tree) -> None:
    tree["apps"][1]["id"] = "a"


def _former_id(tree: Tree) -> None:
    tree["apps"][0]["was"] = ["b"]


def _same_host(tree: Tree) -> None:
    tree["apps"][0]["hosts"] = ["x.example.com", "BÜCHER.example"]
    tree["apps"][1]["hosts"] = ["xn--bcher-kva.example"]


def _same_secret(tree: Tree) -> None:
    tree["apps"][1]["identity"][0]["secret"] = "env:A"


def _same_api_key(tree: Tree) -> None:
    for app in tree["apps"]:
        app["api_key"] = "env:KEY"


def _same_litellm(tree: Tree) -> None:
    for app in tree["apps"]:
        app["litellm"] = {"mode": "customer"}


def _one_shares(tree: Tree) -> None:
    _same_litellm(tree)
    tree["apps"][0]["litellm"]["shared_users"] = True


_T2 = (
    "a user of this app and one of apps[0].litellm would be the same at LiteLLM; give both a user_id such as "
    '"{app_id}:{user_id}", or say "shared_users": true in both'
)
TWO_APPS: list[tuple[Callable[[Tree], None], str]] = [
    (_same_price, "apps[1].tiers[1].prices[1].price_id: the same price is used at apps[0].tiers[1].prices[0].price_id too"),
    (_same_lookup_key, "apps[1].tiers[1].prices[0].lookup_key: the same price is used at apps[0].tiers[1].prices[0].lookup_key too"),
    (_same_id, "apps[1].id: the same app id is used at apps[0].id too"),
    (_former_id, "apps[0].was[0]: the same app id is used at apps[1].id too"),
    (_same_host, "apps[1].hosts[0]: the same host is used at apps[0].hosts[1] too"),
    (_same_secret, "apps[1].identity[0].secret: the same secret, with which each app would accept the other's sessions, is used at apps[0].identity[0].secret too"),
    (_same_api_key, "apps[1].api_key: the same key is used at apps[0].api_key too"),
    (_same_litellm, f"apps[1].litellm: {_T2}"),
    (_one_shares, f"apps[1].litellm: {_T2}"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), TWO_APPS, ids=lambda item: getattr(item, "__name__", ""))
def test_two_apps_must_not_claim_the_same(change: Callable[[Tree], None], message: str) -> None:
    tree = document("a", "b")
    change(tree)
    assert problems(tree) == [f"apps.json: {message}"]


@pytest.mark.parametrize(
    "litellm",
    [
        [{"mode": "customer", "user_id": "{app_id}:{user_id}"}] * 2,
        [{"mode": "customer", "shared_users": True}] * 2,
        [{"mode": "customer", "mixed_modes": True}, {"mode": "internal_user", "mixed_modes": True}],
        [{"mode": "customer"}, {"mode": "customer", "user_id": "b-{user_id}"}],
    ],
)
def test_two_apps_at_litellm_may_differ_or_share_on_purpose(litellm: list[Tree]) -> None:
    tree = document("a", "b")
    for app, each in zip(tree["apps"], litellm, strict=True):
        app["litellm"] = each
    parse(json.dumps(tree).encode())


def test_a_tier_without_limits_is_refused_where_litellm_would_take_it_for_unlimited() -> None:
    tree = document()
    tree["apps"][0]["litellm"] = {"mode": "customer"}
    del tree["apps"][0]["tiers"][1]["limits"]
    assert problems(tree) == ["apps.json: apps[0].tiers[1].limits: required, as the app has litellm; {} is unlimited"]


def test_routes_of_one_path_differ_in_methods() -> None:
    routes: list[Tree] = [
        {"path": "/x", "public": True, "methods": ["GET", "HEAD"]},
        {"path": "/x", "min_tier": "pro", "methods": ["POST"]},
    ]
    tree = document()
    tree["apps"][0]["routes"] = routes
    parse(json.dumps(tree).encode())
    routes[1]["methods"] = ["HEAD"]
    assert problems(tree) == ["apps.json: apps[0].routes[1].path: the same path is used at apps[0].routes[0].path too"]
    del routes[1]["methods"]
    assert problems(tree) == [
        "apps.json: apps[0].routes[0].path: the same path is used at apps[0].routes[1].path too, for all methods"
    ]


def test_one_bad_field_hides_no_other() -> None:
    """The wrong number in the first app does not keep the rules from looking at the second."""
    tree = document("a", "b")
    tree["apps"][0]["tiers"][0]["limits"]["rpm_limit"] = "60"
    tree["apps"][1]["tiers"][1]["id"] = "free"
    tree["apps"][1]["routes"][0]["min_tier"] = "gold"
    del tree["apps"][1]["upstream"]
    _same_price(tree)
    raw = json.dumps(tree).replace('"name": "Pro"', '"name": "Pro", "name": "Pro"', 1).encode()
    assert [line.split(": ")[1] for line in problems(raw)] == [
        "apps[0].tiers[0].limits.rpm_limit",
        "apps[0].tiers[1].name",
        "apps[1].routes[0].min_tier",
        "apps[1].tiers[1].id",
        "apps[1].tiers[1].prices[1].price_id",
        "apps[1].upstream",
    ]


BYTES: list[tuple[bytes, str]] = [
    (b"", 'is empty; the least there can be is {"apps": []}'),
    (b" \n", 'is empty; the least there can be is {"apps": []}'),
    (b"\xef\xbb\xbf{}", "apps: required, but missing"),
    ('{"apps": []}'.encode("utf-16"), "is UTF-16, expected UTF-8; convert it: iconv -f UTF-16 -t UTF-8"),
    (b'{"apps": "\xff"}', "line 1 is not UTF-8 (byte 0xff; Windows-1252?), expected UTF-8; convert it: iconv -f WINDOWS-1252 -t UTF-8"),
    (b"[]", 'expected an object, got an empty list. Use {"apps": [...]}.'),
    (b"null", "expected an object, got null"),
    (b'{"apps": [}', "is not JSON: line 1, column 11: a value or key is missing before }"),
    (b'{"apps": []} x', "is not JSON: line 1, column 14: something stands behind the end of the document"),
    (b"{}", "apps: required, but missing"),
    (b'{"apps": [], "apps": []}', "apps: this key stands here more than once: again at line 1, column 14"),
    (b'{"apps": NaN}', "apps: expected a finite number, got NaN"),
    (b'{"apps": [], "x": {"y": [-Infinity]}}', "x.y[0]: expected a finite number, got -Infinity"),
    (b'{"apps": [], "x": 1e999}', "x: expected a finite number, got 1e999"),
    (b'{"apps": [], "$schema": "\\ud800"}', "$schema: has half a character (a lone surrogate) in it"),
    (b'{"apps": [], "\\ud800": 1}', "a key has half a character (a lone surrogate) in it"),
    (b'{"apps":[' + b"{}," * 300_000 + b"{}]}", "holds more than 250000 values"),
    (b"[" * 1_000_000, "nested deeper than 32 levels"),
    (b'{"a":' * 500_000, "nested deeper than 32 levels"),
    (b'"' + b"[" * 100 + b'\\"', "is not JSON: line 1, column 1: a text that is not closed"),
    (b'{"apps": []' + b" " * 5_000_000 + b"}", "is larger than 4 MiB"),
    (b'{"apps": [], "x": ' + b"9" * 100_000 + b"}", f"x: expected a finite number, got {'9' * 60}…"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "message"), BYTES, ids=lambda item: repr(item[:20]))
def test_an_invalid_document_is_reported_in_one_line(raw: bytes, message: str) -> None:
    assert f"apps.json: {message}" in problems(raw)


def test_a_secret_is_never_quoted_in_any_key() -> None:
    secret = "skp_live_0123456789abcdefSECRET"
    word = "correct horse battery staple"
    for where, value in [
        ("apps.0.api_key", secret),
        ("apps.0.api_key", word),
        ("apps.0.api_key", f"env:{word}"),
        ("apps.0.api_key", f"file:{word}"),
        ("apps.0.identity.0.secret", word),
        ("apps.0.identity", word),
        ("apps.0.identity", {"kind": "openwebui", "secret": word}),
        ("apps.0.webui_secret", word),
        ("apps.0.name", f"{secret}`"),
        ("apps.0.upstream", f"http://user:{word.replace(' ', '-')}@host"),
        ("apps.0.upstream", f"http://user:{word.replace(' ', '/')}@host"),
        (f"apps.0.{secret}", 1),
    ]:
        message = "\n".join(put(where, value))
        assert secret not in message
        assert "battery" not in message


def test_a_file_that_is_something_else_ends_its_problems() -> None:
    lines = problems(json.dumps({"apps": [{}] * 1000}).encode())
    assert len(lines) == 201
    assert lines[-1] == "apps.json: and more"


def test_the_source_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(b"", source="/etc/skp/apps.json")
    assert caught.value.problems[0].startswith("/etc/skp/apps.json: is empty")


def test_a_document_is_not_changed_by_looking_at_it() -> None:
    tree = document("a", "b")
    before = copy.deepcopy(tree)
    parse(json.dumps(tree).encode())
    assert tree == before
