"""apps.json's bytes → Catalog, or a `ConfigError` with every problem at once. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gateway.catalog import document, rules, shape, values
from gateway.catalog.document import Path, Problem, kind, quoted
from gateway.catalog.identity import KINDS
from gateway.catalog.leaves import INVALID_VALUE
from gateway.catalog.model import (
    App,
    Catalog,
    Limits,
    LiteLLMMode,
    Notify,
    OtherPrice,
    Price,
    Rate,
    Route,
    Routing,
    Tier,
    Traffic,
)
from gateway.catalog.routing_shape import RateShape, TrafficShape
from gateway.catalog.secret_ref import SecretRef
from gateway.catalog.tree import suggestion
from gateway.errors import ConfigError

_MAX_PROBLEMS_SHOWN = 200
_MAX_PROBLEMS_COLLECTED = 2 * _MAX_PROBLEMS_SHOWN
_CONTAINERS = {"model_type": "an object", "list_type": "a list"}


def parse(raw: bytes, source: str = "apps.json") -> Catalog:
    """Parse the bytes of apps.json. References to secrets are kept, not read.

    Raises `ConfigError` with each problem as a line `apps.json: apps[0].tiers[1].limits.rpm_limit: expected …, got …`.
    """
    try:
        tree, found = document.read(raw)
    except document.NotJsonObject as exc:
        raise ConfigError([document.line(source, ((), str(exc)))]) from None
    reported = {path for path, _ in found}
    shaped: shape.DocumentShape | None = None
    try:
        shaped = shape.DocumentShape.model_validate(tree)
    except ValidationError as exc:
        errors = exc.errors(include_url=False)[:_MAX_PROBLEMS_COLLECTED]
        found += [problem for problem in map(_problem, errors) if problem[0] not in reported]
    found += islice(rules.problems(tree), _MAX_PROBLEMS_COLLECTED)
    if found or shaped is None:
        raise ConfigError(_lines(source, found))
    return _catalog(shaped, hashlib.sha256(raw).hexdigest())


def _lines(source: str, found: Sequence[Problem]) -> list[str]:
    """In the order of their paths, each once, and limited in number."""
    ordered = sorted(dict.fromkeys(found), key=lambda problem: _order(problem[0]))
    lines = [document.line(source, problem) for problem in ordered[:_MAX_PROBLEMS_SHOWN]]
    if len(ordered) > _MAX_PROBLEMS_SHOWN:
        lines.append(f"{source}: and more")
    return lines


def _order(path: Path) -> tuple[tuple[int, str], ...]:
    return tuple((part, "") if isinstance(part, int) else (-1, part) for part in path)


def _problem(error: ErrorDetails) -> Problem:
    """One of pydantic's errors as a message; never quotes a secret or the value of an unknown key."""
    path, value, name = tuple(error["loc"]), error["input"], error["type"]
    if name == INVALID_VALUE:
        context = error["ctx"]
        message = _invalid_value(value, str(context["expected"]), str(context["why"]), secret=bool(context["secret"]))
        return path, f"{message}. Use {quoted(context['use'])}." if context["use"] else message
    if name == "missing":
        return path, "required, but missing"
    if name == "extra_forbidden":
        return path, "unknown key" + suggestion(str(path[-1]), _keys(path[:-1]))
    if name == "too_short":
        return path, "expected at least one, got an empty list"
    if name == "too_long":
        return path, f"expected {error['ctx']['max_length']} at most"
    expected = _CONTAINERS.get(name)
    return path, f"expected {expected}, got {kind(value)}" if expected else error["msg"]


def _invalid_value(value: object, expected: str, why: str, *, secret: bool) -> str:
    got = "another text, not shown here" if secret and isinstance(value, str) else quoted(value)
    return f"expected {expected}, got {got}" + (f": {why}" if why else "")


def _keys(path: Path) -> list[str]:
    """The keys that an object at this path may have, for suggestions."""
    model: type[BaseModel] = shape.DocumentShape
    for part in path:
        if isinstance(part, str):
            fields = {field.alias or name: field for name, field in model.model_fields.items()}
            model = _model_in(fields[part].annotation)
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel]:
    """The one model inside `list[Model]`, `Model | None` and the like."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(_model_in(inner) for inner in get_args(annotation) if inner is not type(None))


def _catalog(shaped: shape.DocumentShape, digest: str) -> Catalog:
    routing = shaped.routing
    return Catalog(
        apps=MappingProxyType({app.id: _app(app) for app in shaped.apps}),
        routing=Routing(
            entry_points=tuple(routing.entry_points),
            cert_resolver=routing.cert_resolver,
            gate_urls=tuple(url.rstrip("/") for url in routing.gate_url),
            public_service_url=routing.public_service_url.rstrip("/"),
            traefik_url=routing.traefik_url.rstrip("/"),
            network=routing.network,
            provider=routing.provider,
            traefik_version=routing.traefik_version,
            trusted_ips=tuple(routing.trusted_ips),
            gate=routing.gate,
            gate_relay=routing.gate_relay,
        ),
        digest=digest,
    )


def _app(app: shape.AppShape) -> App:
    litellm = app.litellm
    upstreams = app.upstream if isinstance(app.upstream, dict) else {"default": app.upstream}
    return App(
        app_id=app.id,
        name=app.name,
        hosts=tuple(values.ascii_host(host) for host in app.hosts),
        upstream=upstreams["default"].rstrip("/"),
        tier_upstreams=tuple((tier_id, url.rstrip("/")) for tier_id, url in upstreams.items() if tier_id != "default"),
        api_key=SecretRef.parse(app.api_key) if app.api_key else None,
        identity=tuple(KINDS[entry.kind].from_entry(entry) for entry in app.identity),
        litellm=_litellm(litellm) if litellm else None,
        success_url=app.urls.success,
        cancel_url=app.urls.cancel,
        grace_seconds=values.grace_seconds(app.grace),
        anonymous=app.anonymous,
        tiers=tuple(_tier(rank, tier) for rank, tier in enumerate(app.tiers)),
        routes=tuple(
            Route(route.path, route.public, route.min_tier, tuple(route.features), tuple(route.methods))
            for route in app.routes
        ),
        enforce=app.enforce,
        sign_in_url=app.sign_in_url,
        cors=tuple(app.cors),
        notify=Notify(app.notify.url, SecretRef.parse(app.notify.secret)) if app.notify else None,
        on_dispute=app.on_dispute,
        on_full_refund=app.on_full_refund,
        assertion=app.assertion,
        was=tuple(app.was),
        other_prices=tuple(
            OtherPrice(price.price_id or None, price.lookup_key or None, price.product_id or None)
            for price in app.other_prices
        ),
    )


def _tier(rank: int, tier: shape.TierShape) -> Tier:
    return Tier(
        tier_id=tier.id,
        name=tier.name,
        rank=rank,
        prices=tuple(
            Price(
                price.price_id or None,
                price.lookup_key or None,
                price.unit_amount,
                price.currency,
                price.interval,
                price.interval_count,
            )
            for price in tier.prices
        ),
        features=tuple(tier.features),
        limits=_limits(tier.limits or shape.LimitsShape()),
        declared_limits=frozenset(tier.limits.model_fields_set if tier.limits else ()),
        traffic=_traffic(tier.traffic) if tier.traffic else None,
        internal=tier.internal,
        was=tuple(tier.was),
    )


def _limits(limits: shape.LimitsShape) -> Limits:
    models = None if limits.models is None else tuple(limits.models)
    return Limits(limits.max_budget, limits.budget_duration, limits.tpm_limit, limits.rpm_limit, models)


def _traffic(traffic: TrafficShape) -> Traffic:
    rate = traffic.rate
    return Traffic(
        rate=Rate(rate.average, rate.period, rate.burst or _default_burst(rate)) if rate else None,
        in_flight=traffic.in_flight,
    )


def _default_burst(rate: RateShape) -> int:
    """Traefik forgets a client that is idle for two seconds: a larger burst would also raise the average."""
    return max(1, 2 * rate.average // values.seconds(rate.period))


def _litellm(litellm: shape.LiteLLMShape) -> LiteLLMMode:
    shared_key = SecretRef.parse(litellm.shared_key) if litellm.shared_key else None
    return LiteLLMMode(litellm.mode, litellm.user_id, litellm.shared_users, shared_key, litellm.user_header)
