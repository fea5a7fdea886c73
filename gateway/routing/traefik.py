"""Plan → Traefik's dynamic configuration, for its file provider (a template!) and its HTTP provider. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import yaml

from gateway.catalog.reserved import HEADER_ECHO_PATH
from gateway.routing.model import (
    PLUGIN,
    PUBLIC,
    BodyLimit,
    ChildRouter,
    ClientHeaders,
    ForwardAuth,
    HostHeader,
    InFlight,
    Middleware,
    Plan,
    Plugin,
    RateLimit,
    Router,
    SourceCriterion,
    StripHeaders,
)

HEADER = "# Written by skpay routes write from apps.json: edit that instead.\n"
# Removed from client requests before the gate's are added: our headers in every spelling that a backend might read as
# ours (X_SK_Tier, X.SK.Tier, X-SK_Tier, …; X-Skate stays); X-Original-Url and X-Rewrite-Url, from which IIS and older
# Symfony and Zend read another path than the gate checked; and X_Forwarded_For, X-Forwarded--Host and the like,
# which Traefik passes on. Those with single dashes are Traefik's own. The plugin has the same.
STRIPPED_HEADERS = (
    "(?i)^x([^a-z0-9]*sk[^a-z0-9]|[^a-z0-9]*(original|rewrite)[^a-z0-9]*ur[il]"
    "|(|[^a-z0-9-][^a-z0-9]*|-[^a-z0-9]+)forwarded[^a-z0-9]|-forwarded([^a-z0-9-]|-[^a-z0-9]|-.*(--|[^a-z0-9-])))"
)
# Above Traefik's default priorities, which are the length of the rule.
PRIORITY = 1000
MAX_GATE_ANSWER_BYTES = 64 * 1024
# Headers by which a client could claim another method.
_SPOOFABLE_HEADERS = ("X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Prefix")
_FROM_ENVIRONMENT = '{{ env "GATE_SECRET" }}'
_LITERAL_BRACES = "{{`{{`}}"
Tree = dict[str, Any]


class _SecretReference(str):
    """A text that the provider replaces by the secret; the only text that is not escaped."""

    __slots__ = ()


def traefik_document(plan: Plan, gate_secret: str) -> Tree:
    """The whole dynamic configuration for the HTTP provider, with `gate_secret` in plain text.

    It always has a router: Traefik would read an empty document as "no routes".
    """
    return {
        "http": {
            "routers": {
                **routers_of(plan, plan.routers),
                **{child.name: _child_router(child) for child in plan.children},
            },
            "middlewares": middlewares_of(plan.middlewares, gate_secret),
            "services": {
                service.name: {"loadBalancer": {"servers": [{"url": service.url}]}} for service in plan.services
            },
        }
    }


def traefik_json(plan: Plan, gate_secret: str) -> bytes:
    """The dynamic configuration as JSON. Encoded in pieces: one call for the whole document would block all other
    threads meanwhile."""
    document = traefik_document(plan, gate_secret)["http"]
    return _joined({"http": _joined({kind: _joined(_encoded(items)) for kind, items in document.items()})}).encode()


def _encoded(items: Tree) -> dict[str, str]:
    return {name: json.dumps(item) for name, item in items.items()}


def _joined(encoded: Mapping[str, str]) -> str:
    """A JSON object from values that are already encoded."""
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in encoded.items()) + "}"


def traefik_file(plan: Plan) -> str:
    """The dynamic configuration as YAML for the file provider, a Go template: the secret is read from Traefik's own
    environment, and any other `{{` is escaped. With an empty GATE_SECRET the gate refuses every request."""
    return as_yaml(traefik_document(plan, _SecretReference(_FROM_ENVIRONMENT)))


def routers_of(plan: Plan, routers: Iterable[Router]) -> Tree:
    """The root routers: the apps', each with the gate, and our own. No child routers, which labels cannot express."""
    return {name: options for router in routers for name, options in _routers(plan, router)}


def middlewares_of(middlewares: Iterable[Middleware], gate_secret: str) -> Tree:
    return {middleware.name: _RENDERED[type(middleware)](middleware, gate_secret) for middleware in middlewares}


def as_yaml(tree: Tree) -> str:
    return HEADER + yaml.dump(
        _escaped(tree), Dumper=_Dumper, sort_keys=False, width=2**31 - 1, default_flow_style=False
    )


def _routers(plan: Plan, router: Router) -> Iterator[tuple[str, Tree]]:
    # Hosts in a plan consist of a-z, 0-9, - and ., so no back-tick can end the text.
    rule = f"Host(`{router.host}`)"
    yield router.name, _router(plan, router, rule, router.service, PRIORITY)
    if router.app_id is not None:
        # With the app's middlewares to our own listener, which reports the headers to doctor. If Traefik drops this
        # router, the one above matches, which is as strict. The path first: it decides most requests sooner.
        name = router.name.replace("sk-app-", "sk-arrived-", 1)
        yield name, _router(plan, router, f"Path(`{HEADER_ECHO_PATH}`) && {rule}", PUBLIC, PRIORITY + 1)
    if router.preflights:
        name = router.name.replace("sk-app-", "sk-preflight-", 1)
        yield name, _router(plan, router, f"{router.preflights} && {rule}", PUBLIC, PRIORITY + 1)


def _router(plan: Plan, router: Router, rule: str, service: str | None, priority: int) -> Tree:
    options: Tree = {
        "rule": rule,
        "entryPoints": list(plan.routing.entry_points),
        "middlewares": list(router.middlewares),
        **({} if service is None else {"service": service}),
        "priority": priority,
    }
    if plan.routing.cert_resolver is not None:
        options["tls"] = {"certResolver": plan.routing.cert_resolver}
    return options


def _child_router(child: ChildRouter) -> Tree:
    """Traefik allows neither entry points nor TLS on it; without `parentRefs` it would be a root router."""
    return {
        "rule": _child_router_rule(child),
        "parentRefs": list(child.parents),
        **({"middlewares": list(child.middlewares)} if child.middlewares else {}),
        "service": child.service,
        "priority": PRIORITY,
    }


def _child_router_rule(child: ChildRouter) -> str:
    """Tier ids consist of a-z, 0-9, _ and -."""
    if child.tier_id is None:
        terms = [
            "HeaderRegexp(`X-SK-Tier`, `.`)",
            *(f"!Header(`X-SK-Tier`, `{tier_id}`)" for tier_id in child.excluded_tier_ids),
        ]
    else:
        terms = [f"Header(`X-SK-Tier`, `{child.tier_id}`)"]
    if child.signed_in is not None:
        terms.append(("" if child.signed_in else "!") + "HeaderRegexp(`X-SK-User`, `.`)")
    return " && ".join(terms)


def _client_headers(middleware: ClientHeaders, gate_secret: str) -> Tree:
    """An empty text deletes the header in Traefik."""
    secret = {"X-SK-Gate": gate_secret} if middleware.sets_gate_secret else {}
    return {
        "headers": {
            "customRequestHeaders": {**secret, **dict.fromkeys(_SPOOFABLE_HEADERS, "")},
            # Cloudflare caches by file extension, before Traefik: a paid file would be served to everybody.
            "customResponseHeaders": {"Cloudflare-CDN-Cache-Control": "no-store"},
        }
    }


def _strip(middleware: StripHeaders, _: str) -> Tree:
    return {"headers": {"customRequestHeaders": dict.fromkeys(middleware.headers, "")}}


def _host_header(middleware: HostHeader, _: str) -> Tree:
    return {"headers": {"customRequestHeaders": {"X-Forwarded-Host": middleware.host}}}


def _gate(middleware: ForwardAuth, _: str) -> Tree:
    return {
        "forwardAuth": {
            "address": middleware.address,
            "trustForwardHeader": False,
            "preserveLocationHeader": True,
            "maxResponseBodySize": MAX_GATE_ANSWER_BYTES,
            "authRequestHeaders": list(middleware.request_headers),
            "authResponseHeadersRegex": _strip_pattern(middleware.strip_pattern),
        }
    }


def _strip_pattern(of_this_app: str) -> str:
    return f"{STRIPPED_HEADERS}|{of_this_app.removeprefix('(?i)')}" if of_this_app else STRIPPED_HEADERS


def _plugin(middleware: Plugin, gate_secret: str) -> Tree:
    options = {
        "gateUrl": list(middleware.gate_urls),
        "app": middleware.app_id,
        "secret": gate_secret,
        "headers": list(middleware.identity_headers),
        **({"stripHeaders": middleware.strip_pattern} if middleware.strip_pattern else {}),
    }
    return {"plugin": {PLUGIN: options}}


def _rate_limit(middleware: RateLimit, _: str) -> Tree:
    return {
        "rateLimit": {
            "average": middleware.average,
            "burst": middleware.burst,
            "period": middleware.period,
            "sourceCriterion": _criterion(middleware.criterion),
        }
    }


def _in_flight(middleware: InFlight, _: str) -> Tree:
    return {"inFlightReq": {"amount": middleware.amount, "sourceCriterion": _criterion(middleware.criterion)}}


def _criterion(by: SourceCriterion) -> Tree:
    """Of IPv6 addresses the first 64 bits: clients can choose the rest."""
    if by == "user":
        return {"requestHeaderName": "X-SK-User"}
    # The last address in X-Forwarded-For is the one that the tunnel's edge added; the client may have sent the others.
    return {"ipStrategy": {"ipv6Subnet": 64, **({"depth": 1} if by == "forwarded" else {})}}


def _body_limit(middleware: BodyLimit, _: str) -> Tree:
    return {"buffering": {"maxRequestBodyBytes": middleware.max_bytes}}


_RENDERED: dict[type, Callable[[Any, str], Tree]] = {
    ClientHeaders: _client_headers,
    StripHeaders: _strip,
    HostHeader: _host_header,
    ForwardAuth: _gate,
    Plugin: _plugin,
    RateLimit: _rate_limit,
    InFlight: _in_flight,
    BodyLimit: _body_limit,
}


def _escaped(value: Any) -> Any:
    """Every text but the reference with `{{` escaped for Traefik's template engine; back-ticks survive YAML quotes."""
    if isinstance(value, dict):
        return {_escaped(key): _escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    if isinstance(value, _SecretReference):
        return str(value)
    return value.replace("{{", _LITERAL_BRACES) if isinstance(value, str) else value


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # the fast one where it is built
    """Writes no anchors, so that every middleware can be read by itself."""

    def ignore_aliases(self, data: object) -> bool:
        return True
