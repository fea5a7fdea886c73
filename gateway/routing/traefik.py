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
# Taken from the client before the gate's own are copied: our headers in every spelling that a backend might read as
# ours (X_SK_Tier, X.SK.Tier, X-SK_Tier, …; X-Skate stays); X-Original-Url and X-Rewrite-Url, from which IIS and older
# Symfony and Zend take another path than the gate decided about; and X_Forwarded_For, X-Forwarded--Host and the like,
# which Traefik passes on. Those with single dashes are Traefik's own. The plugin has the same.
STRIPPED_HEADERS = (
    "(?i)^x([^a-z0-9]*sk[^a-z0-9]|[^a-z0-9]*(original|rewrite)[^a-z0-9]*ur[il]"
    "|(|[^a-z0-9-][^a-z0-9]*|-[^a-z0-9]+)forwarded[^a-z0-9]|-forwarded([^a-z0-9-]|-[^a-z0-9]|-.*(--|[^a-z0-9-])))"
)
# Over any default rule of Traefik's (their priority is the rule's length).
PRIORITY = 1000
MAX_GATE_ANSWER_BYTES = 64 * 1024
# What a visitor could say of a request instead of making it.
_SPOOFABLE_HEADERS = ("X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Prefix")
_FROM_ENVIRONMENT = '{{ env "GATE_SECRET" }}'
_LITERAL_BRACES = "{{`{{`}}"
Tree = dict[str, Any]


class _SecretReference(str):
    """A text that the reader replaces by the secret; the one text that is not escaped."""

    __slots__ = ()


def traefik_document(plan: Plan, gate_secret: str) -> Tree:
    """The whole dynamic configuration, as the HTTP provider takes it; `gate_secret` stands in it as it is.

    Never without a router: Traefik takes an empty document for "no routes".
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
    """The same as the HTTP provider gets it. Encoded piece by piece: one call over all of it would hold every other
    thread for as long as it takes."""
    document = traefik_document(plan, gate_secret)["http"]
    return _joined({"http": _joined({kind: _joined(_encoded(items)) for kind, items in document.items()})}).encode()


def _encoded(items: Tree) -> dict[str, str]:
    return {name: json.dumps(item) for name, item in items.items()}


def _joined(encoded: Mapping[str, str]) -> str:
    """A JSON object of values that are JSON already."""
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in encoded.items()) + "}"


def traefik_file(plan: Plan) -> str:
    """The same as YAML for the file provider, which runs Go templates over it: the secret is read from Traefik's own
    environment, and any other `{{` stays what it is. An empty GATE_SECRET is a header that the gate refuses."""
    return as_yaml(traefik_document(plan, _SecretReference(_FROM_ENVIRONMENT)))


def routers_of(plan: Plan, routers: Iterable[Router]) -> Tree:
    """The root routers, each with a gate or ours; without lanes, which labels cannot say."""
    return {name: options for router in routers for name, options in _routers(plan, router)}


def middlewares_of(middlewares: Iterable[Middleware], gate_secret: str) -> Tree:
    return {middleware.name: _RENDERED[type(middleware)](middleware, gate_secret) for middleware in middlewares}


def as_yaml(tree: Tree) -> str:
    return HEADER + yaml.dump(
        _escaped(tree), Dumper=_Dumper, sort_keys=False, width=2**31 - 1, default_flow_style=False
    )


def _routers(plan: Plan, router: Router) -> Iterator[tuple[str, Tree]]:
    # Plan holds hosts of a-z, 0-9, - and . only, so no back-tick can end the text.
    rule = f"Host(`{router.host}`)"
    yield router.name, _router(plan, router, rule, router.service, PRIORITY)
    if router.app_id is not None:
        # Through the same chain to ourselves, who say to doctor what came out of it. Should Traefik drop this one, the
        # request falls to the one above, which is no less strict. The path first: it tells most requests apart sooner.
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
    """Traefik takes neither entry points nor TLS on it; without `parentRefs` it would be a router of its own."""
    return {
        "rule": _child_router_rule(child),
        "parentRefs": list(child.parents),
        **({"middlewares": list(child.middlewares)} if child.middlewares else {}),
        "service": child.service,
        "priority": PRIORITY,
    }


def _child_router_rule(child: ChildRouter) -> str:
    """Tier ids are of a-z, 0-9, _ and - only."""
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
    """Traefik takes an empty text for "delete this header"."""
    secret = {"X-SK-Gate": gate_secret} if middleware.sets_gate_secret else {}
    return {
        "headers": {
            "customRequestHeaders": {**secret, **dict.fromkeys(_SPOOFABLE_HEADERS, "")},
            # Cloudflare caches by file extension before Traefik is asked: a paid file would be everybody's.
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
        "address": middleware.gate_url,
        "app": middleware.app_id,
        "secret": gate_secret,
        "headers": list(middleware.identity_headers),
        **({"taken": middleware.strip_pattern} if middleware.strip_pattern else {}),
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
    """Of addresses in IPv6 the first 64 bits: the rest is the visitor's to choose."""
    if by == "user":
        return {"requestHeaderName": "X-SK-User"}
    # The last address in X-Forwarded-For is what the tunnel's edge has seen; before it stand the client's own words.
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
    """Every text but the reference with `{{` as Traefik's template engine prints it; back-ticks survive YAML quotes."""
    if isinstance(value, dict):
        return {_escaped(key): _escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    if isinstance(value, _SecretReference):
        return str(value)
    return value.replace("{{", _LITERAL_BRACES) if isinstance(value, str) else value


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # the fast one where it is built
    """Without anchors: every middleware is readable by itself."""

    def ignore_aliases(self, data: object) -> bool:
        return True
