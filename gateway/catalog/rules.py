"""The rules between values of apps.json, checked over the raw tree so that one bad field hides no other. Pure.

Each rule skips values of the wrong type, which `shape` reports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gateway.catalog.document import Path, Problem, path_text
from gateway.catalog.identity.rules import identity_problems, kind_of
from gateway.catalog.litellm_id import DEFAULT_TEMPLATE, LiteLLMIdTemplate, template_problem
from gateway.catalog.routing_rules import gate_problems, label_problems, tier_traffic, upstreams
from gateway.catalog.tree import Apps, PathValues, Raw, duplicates, known, objects, text, texts
from gateway.catalog.values import ascii_host, host_problem


def problems(tree: Raw) -> Iterator[Problem]:
    """The problems of all rules, lazily: a file with other content may have very many."""
    apps = list(objects(tree, ("apps",)))
    for rule in _OVER_ALL:
        yield from rule(apps)
    for app_path, app in apps:
        for app_rule in _PER_APP:
            yield from app_rule(app_path, app)
    yield from label_problems(tree)
    yield from gate_problems(tree)


def _app_ids(apps: Apps) -> Iterator[Problem]:
    def values() -> PathValues:
        for path, app in apps:
            yield from text(app, (*path, "id"))
        for path, app in apps:
            yield from texts(app, (*path, "was"))

    return duplicates(values(), "the same app id")


def _hosts(apps: Apps) -> Iterator[Problem]:
    def values() -> PathValues:
        for path, app in apps:
            for place, host in texts(app, (*path, "hosts")):
                if host_problem(host) is None:
                    yield place, ascii_host(host)

    return duplicates(values(), "the same host")


def _prices(apps: Apps) -> Iterator[Problem]:
    def values(key: str) -> PathValues:
        for path, app in apps:
            for tier_path, tier in objects(app, (*path, "tiers")):
                for price_path, price in objects(tier, (*tier_path, "prices")):
                    yield from text(price, (*price_path, key))

    yield from duplicates(values("price_id"), "the same price")
    yield from duplicates(values("lookup_key"), "the same price")


def _other_prices(apps: Apps) -> Iterator[Problem]:
    """A price either gives a tier or gives none. Apps may share an add-on, but no price of a tier."""
    for key in ("price_id", "lookup_key"):
        of_tiers: dict[str, Path] = {}
        for path, app in apps:
            for tier_path, tier in objects(app, (*path, "tiers")):
                for price_path, price in objects(tier, (*tier_path, "prices")):
                    of_tiers |= {name: place for place, name in text(price, (*price_path, key))}
        for path, app in apps:
            for price_path, price in objects(app, (*path, "other_prices")):
                for place, name in text(price, (*price_path, key)):
                    if name in of_tiers:
                        yield place, f"this price gives a tier, at {path_text(of_tiers[name])}; remove one of the two"


def _api_keys(apps: Apps) -> Iterator[Problem]:
    """With the same key each of two apps could act for the other."""
    return duplicates((value for path, app in apps for value in text(app, (*path, "api_key"))), "the same key")


def _identity_secrets(apps: Apps) -> Iterator[Problem]:
    """Open WebUI's tokens have no audience: two apps with the same secret accept each other's."""

    def values() -> PathValues:
        for path, app in apps:
            for entry_path, entry in objects(app, (*path, "identity")):
                kind = kind_of(entry)
                for key in () if kind is None else kind.secret_keys:
                    yield from text(entry, (*entry_path, key))

    return duplicates(values(), "the same secret, with which each app would accept the other's sessions,")


def _notify_secrets(apps: Apps) -> Iterator[Problem]:
    """An app that can sign another's notices could raise tiers there."""

    def values() -> PathValues:
        for path, app in apps:
            notify = app.get("notify")
            if isinstance(notify, dict):
                yield from text(notify, (*path, "notify", "secret"))

    return duplicates(values(), "the same secret, with which each app could sign the other's notices,")


def _litellm_modes(apps: Apps) -> Iterator[Problem]:
    """A user with their own LiteLLM key can name another user as the customer of a call (T23)."""
    first: tuple[str, bool] | None = None
    for path, app in apps:
        litellm = app.get("litellm")
        mode = litellm.get("mode") if isinstance(litellm, dict) else None
        if not isinstance(litellm, dict) or not isinstance(mode, str):
            continue
        known = litellm.get("mixed_modes") is True
        first = first or (mode, known)
        if mode != first[0] and not (known and first[1]):
            yield (
                (*path, "litellm", "mode"),
                f'both modes on one LiteLLM: a user with a key of their own ("internal_user") may spend another\'s '
                f'budget as a customer; use "{first[0]}", or accept it with "mixed_modes": true in each app',
            )


def _litellm_users(apps: Apps) -> Iterator[Problem]:
    """A (mode, LiteLLM id) belongs to one user of one app, unless each app declares that users are shared."""
    first: dict[tuple[str, LiteLLMIdTemplate], tuple[Path, bool]] = {}
    for path, app in apps:
        litellm, app_id = app.get("litellm"), app.get("id")
        if not isinstance(litellm, dict) or not isinstance(app_id, str):
            continue
        mode, template = litellm.get("mode"), litellm.get("user_id", DEFAULT_TEMPLATE)
        if not isinstance(mode, str) or not isinstance(template, str) or template_problem(template):
            continue
        place, shared = (*path, "litellm"), litellm.get("shared_users") is True
        before, before_shared = first.setdefault((mode, LiteLLMIdTemplate.parse(template, app_id)), (place, shared))
        if before != place and not (shared and before_shared):
            yield (
                place,
                f"a user of this app and one of {path_text(before)} would be the same at LiteLLM; give both a user_id "
                'such as "{app_id}:{user_id}", or say "shared_users": true in both',
            )


def _tier_ids(path: Path, app: Raw) -> Iterator[Problem]:
    tiers = list(objects(app, (*path, "tiers")))

    def values() -> PathValues:
        for tier_path, tier in tiers:
            yield from text(tier, (*tier_path, "id"))
        for tier_path, tier in tiers:
            yield from texts(tier, (*tier_path, "was"))

    return duplicates(values(), "the same tier id")


def _cors(path: Path, app: Raw) -> Iterator[Problem]:
    return duplicates(texts(app, (*path, "cors")), "the same origin")


def _first_tier(path: Path, app: Raw) -> Iterator[Problem]:
    tiers = app.get("tiers")
    first = tiers[0] if isinstance(tiers, list) and tiers else None
    if isinstance(first, dict):
        place = (*path, "tiers", 0)
        if first.get("prices"):
            yield (*place, "prices"), "the first tier is what everybody has without paying, so it has no prices"
        if first.get("internal") is True:
            yield (*place, "internal"), "the first tier is what everybody has, so it cannot be internal"


def _each_price(path: Path, app: Raw) -> Iterator[Problem]:
    for tier_path, tier in objects(app, (*path, "tiers")):
        for price_path, price in objects(tier, (*tier_path, "prices")):
            named = [key for key in ("price_id", "lookup_key") if key in price]
            if len(named) != 1:
                yield price_path, f"expected either price_id or lookup_key, got {'both' if named else 'neither'}"


def _each_other_price(path: Path, app: Raw) -> Iterator[Problem]:
    keys = ("price_id", "lookup_key", "product_id")
    others = list(objects(app, (*path, "other_prices")))
    for price_path, price in others:
        named = sum(key in price for key in keys)
        if named != 1:
            yield price_path, f"expected one of {', '.join(keys)}, got {named or 'none'}"
    for key in keys:
        yield from duplicates((value for at, price in others for value in text(price, (*at, key))), f"the same {key}")


def _tier_features(path: Path, app: Raw) -> Iterator[Problem]:
    for tier_path, tier in objects(app, (*path, "tiers")):
        yield from duplicates(texts(tier, (*tier_path, "features")), "the same feature")


def _limits_declared(path: Path, app: Raw) -> Iterator[Problem]:
    """A tier without limits would be unlimited, at the operator's cost."""
    if isinstance(app.get("litellm"), dict):
        for tier_path, tier in objects(app, (*path, "tiers")):
            if tier.get("limits") is None:
                yield (*tier_path, "limits"), "required, as the app has litellm; {} is unlimited"


def _each_route(path: Path, app: Raw) -> Iterator[Problem]:
    tiers = [tier for _, tier in objects(app, (*path, "tiers"))]
    tier_ids = dict.fromkeys(tier_id for tier in tiers for _, tier_id in text(tier, ("id",)))
    features = dict.fromkeys(feature for tier in tiers for _, feature in texts(tier, ("features",)))
    for route_path, route in objects(app, (*path, "routes")):
        wants = route.get("min_tier") is not None or bool(route.get("features"))
        if route.get("public") is True and wants:
            yield route_path, "expected either public or min_tier and features, got both"
        if route.get("public") in (False, None) and not wants:
            yield route_path, "expected public, min_tier or features, got none"
        for place, tier_id in text(route, (*route_path, "min_tier")):
            # If no tier is valid, that is reported once and not for each route.
            yield from known(place, tier_id, tier_ids or {tier_id: None}, "tier of this app")
        for place, feature in texts(route, (*route_path, "features")):
            yield from known(place, feature, features, "feature of a tier of this app")


def _route_paths(path: Path, app: Raw) -> Iterator[Problem]:
    """Two routes with the same path must differ in methods, or it would be undefined which one applies."""

    def values() -> PathValues:
        for route_path, route in objects(app, (*path, "routes")):
            methods = [method for _, method in texts(route, ("methods",))]
            for place, route_text in text(route, (*route_path, "path")):
                for method in dict.fromkeys(methods) or ("",):
                    yield place, (route_text, method)

    def all_and_some() -> Iterator[Problem]:
        found = list(values())
        all_methods = {value[0]: place for place, value in found if isinstance(value, tuple) and not value[1]}
        for place, value in found:
            if isinstance(value, tuple) and value[1] and value[0] in all_methods:
                yield place, f"the same path is used at {path_text(all_methods[value[0]])} too, for all methods"

    yield from duplicates(values(), "the same path")
    yield from dict.fromkeys(all_and_some())


_OVER_ALL: tuple[Callable[[Apps], Iterator[Problem]], ...] = (
    _app_ids, _hosts, _prices, _other_prices, _api_keys, _identity_secrets, _notify_secrets, _litellm_modes,
    _litellm_users,
)  # fmt: skip
_PER_APP: tuple[Callable[[Path, Raw], Iterator[Problem]], ...] = (
    _tier_ids, _cors, _first_tier, _each_price, _each_other_price, _tier_features, _limits_declared, identity_problems,
    _each_route, _route_paths, upstreams, tier_traffic,
)  # fmt: skip
