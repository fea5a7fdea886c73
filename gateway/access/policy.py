"""May they: one request of one person against the routes of one app. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from gateway.access.identity import Known, Refused, Who
from gateway.access.paths import Path, Segments, read_path, segments, under
from gateway.catalog.model import App, Route, Tier

UPGRADE_PATH: Segments = (".skpayments", "upgrade")
# TRACE echoes the request, credentials and our tags included; CONNECT is no request to an app.
REFUSED_METHODS = frozenset({"TRACE", "TRACK", "CONNECT"})


@dataclass(frozen=True, slots=True)
class Allow:
    """Let through, tagged with `tier` and `user_id` (None: nobody is named). `instead_of` is what `enforce: true`
    would have answered, None if the same."""

    tier: Tier
    user_id: str | None
    instead_of: Literal["sign_in_required", "tier_required"] | None = None


@dataclass(frozen=True, slots=True)
class SignInRequired:
    """Nobody we know, where somebody must be. `reason` may be shown."""

    reason: str


@dataclass(frozen=True, slots=True)
class TierRequired:
    """Known, but `current_tier` does not reach. `required_tier` None: no tier of the app does."""

    user_id: str
    required_tier: Tier | None
    current_tier: Tier


@dataclass(frozen=True, slots=True)
class MethodRefused:
    """A method that no app is ever asked with."""


Decision = Allow | SignInRequired | TierRequired | MethodRefused


@dataclass(frozen=True, slots=True)
class _Rule:
    """One route, ready to match. `tiers`: the ids that pass."""

    path: Segments
    folded: Segments
    public: bool
    methods: frozenset[str]
    tiers: frozenset[str]

    def for_method(self, method: str) -> bool:
        return not self.methods or method in self.methods


def _passes(route: Route, tier: Tier, lowest: Tier | None) -> bool:
    return (lowest is None or tier.rank >= lowest.rank) and set(route.features) <= set(tier.features)


def _rule(app: App, route: Route) -> _Rule:
    lowest = app.tier(route.min_tier) if route.min_tier is not None else None
    if route.min_tier is not None and lowest is None:
        raise ValueError(f"app {app.app_id}: route {route.path}: no tier {route.min_tier}")
    path = read_path(route.path).literal
    if path is None:
        raise ValueError(f"app {app.app_id}: route {route.path}: can be read in more than one way")
    tiers = frozenset(tier.tier_id for tier in app.tiers if _passes(route, tier, lowest))
    # HEAD answers what GET does without the body: a rule for one is a rule for both.
    methods = frozenset(route.methods) | ({"HEAD"} if "GET" in route.methods else frozenset())
    return _Rule(path, segments("/".join(path).casefold()), route.public, methods, tiers)


class Policy:
    """The rules of one app, ready to be asked.

    Every route with a `min_tier` or `features` that covers the path in any reading must be satisfied: rules add up,
    a nested one never loosens the one above it. Only a `public` route does, where it is deeper than all of those and
    covers the path literally.
    """

    def __init__(self, app: App) -> None:
        self.app = app
        self._tiers = {former: tier for tier in app.tiers for former in tier.was}
        self._tiers |= {tier.tier_id: tier for tier in app.tiers}
        rules = [_rule(app, route) for route in app.routes]
        self._public = [rule for rule in rules if rule.public]
        self._paid = [rule for rule in rules if not rule.public]

    def tier(self, tier_id: str) -> Tier:
        """The tier of this id or former id; the first tier for an id the app does not have."""
        return self._tiers.get(tier_id) or self.app.default_tier

    def decide(self, who: Who, tier_id: str, method: str, path: Path, *, preflight: bool = False) -> Decision:
        """What happens to a request of `who`, whose tier is `tier_id` if known.

        `preflight`: OPTIONS with Origin and Access-Control-Request-Method and no credential at all, as browsers send
        it before the real request. It passes as nobody on the first tier: it can carry no credential, and refusing
        it would break every cross-origin call of people who may make it.
        """
        if method in REFUSED_METHODS:
            return MethodRefused()
        if preflight and method == "OPTIONS":
            return Allow(self.app.default_tier, None)
        known = who if isinstance(who, Known) else None
        tier = self.app.default_tier if known is None else self.tier(tier_id)
        user_id = None if known is None else known.user_id
        paid = self._asked_for(method, path)
        if paid is None:
            return Allow(tier, user_id)
        if all(tier.tier_id in rule.tiers for rule in paid):
            if known is not None or (self.app.anonymous == "tag" and not isinstance(who, Refused)):
                return Allow(tier, user_id)
        elif known is not None:
            if not self.app.enforce:
                return Allow(tier, user_id, "tier_required")
            return TierRequired(known.user_id, self._reaching(paid, tier), tier)
        if not self.app.enforce:
            return Allow(tier, None, "sign_in_required")
        return SignInRequired(who.reason if isinstance(who, Refused) else "sign in to use this")

    def _asked_for(self, method: str, path: Path) -> list[_Rule] | None:
        """The rules that a request must satisfy, perhaps none; None where it is public."""
        paid = [rule for rule in self._paid if rule.for_method(method) and _in_any(rule.folded, path)]
        if path.literal is not None and self._public:
            deepest = max((len(rule.path) for rule in paid), default=-1)
            for rule in self._public:
                if len(rule.path) > deepest and rule.for_method(method) and under(rule.path, path.literal):
                    return None
        return paid

    def _reaching(self, rules: Iterable[_Rule], current: Tier) -> Tier | None:
        """The tier to buy: the lowest one for sale above the current one that satisfies all, else any that does."""
        rules = list(rules)
        enough = [tier for tier in self.app.tiers if all(tier.tier_id in rule.tiers for rule in rules)]
        above = [tier for tier in enough if tier.rank > current.rank]
        return next((tier for tier in above if tier.for_sale), next(iter(above or enough), None))


def _in_any(prefix: Segments, path: Path) -> bool:
    return path.readings is None or any(under(prefix, reading) for reading in path.readings)


def is_upgrade(path: Path) -> bool:
    """The one path that we answer ourselves on every host of an app."""
    return path.literal == UPGRADE_PATH


def wants_page(method: str, accept: str, sec_fetch_mode: str) -> bool:
    """A browser navigation, which is sent on to a page, rather than a call of a program, which gets JSON.

    Sec-Fetch-Mode says so where there is one (every browser since 2023); else Accept, which navigations fill with
    text/html and `fetch` does not.
    """
    if sec_fetch_mode:
        return sec_fetch_mode == "navigate"
    return method in ("GET", "HEAD") and "text/html" in accept.lower()
