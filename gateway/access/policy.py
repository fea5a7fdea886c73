"""Decides whether a request may pass: one request of one user against the routes of one app. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

from gateway.access.authentication import Administrator, AuthenticatedUser, Authentication, RejectedCredential
from gateway.access.litellm_paths import aliases
from gateway.access.paths import Path, read_path
from gateway.catalog.model import App, Route, Tier

UPGRADE_PATH = "/.skpayments/upgrade/"  # in normal form
# TRACE echoes the request including credentials and our tags; CONNECT is no request to an app.
REFUSED_METHODS = frozenset({"TRACE", "TRACK", "CONNECT"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Allow:
    """The request passes, tagged with `tier`, and with the user's id if `named`. `unenforced_outcome` is what
    `enforce: true` would have answered, None if the same. Made once per tier and shared by all requests."""

    tier: Tier
    named: bool
    unenforced_outcome: Literal["sign_in_required", "tier_required"] | None = None


@dataclass(frozen=True, slots=True)
class SignInRequired:
    """No user was authenticated where one is required. `reason` may be shown."""

    reason: str


@dataclass(frozen=True, slots=True)
class TierRequired:
    """The user's `current_tier` is too low. `required_tier` None: no tier of the app is enough."""

    user_id: str
    required_tier: Tier | None
    current_tier: Tier


@dataclass(frozen=True, slots=True)
class MethodRefused:
    """A method that never reaches an app."""


Decision = Allow | SignInRequired | TierRequired | MethodRefused
_UNREACHABLE_DEPTH = 1_000_000  # deeper than any path is long
Verdict = Literal["passes", "fails", "opens", "too shallow"]
"""For a paid route: whether the tier is enough. For a public one: whether it is deeper than all paid ones."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One route or an alias of it, prepared for matching. `path` and `folded` are in normal form; `tiers` are the ids
    that pass. With `within` (folded) it covers only paths that contain that as well."""

    path: str
    folded: str
    public: bool
    methods: frozenset[str]
    tiers: frozenset[str]
    within: str = ""

    @property
    def depth(self) -> int:
        """How deep a public rule must be to open what this one covers. A rule with `within` matches at any depth, so
        no public rule opens what it covers."""
        return _UNREACHABLE_DEPTH if self.within else len(self.path)

    def for_method(self, method: str) -> bool:
        return not self.methods or method in self.methods

    def matches_any_reading(self, path: Path) -> bool:
        return path.readings is None or any(
            reading.startswith(self.folded) and self.within in reading for reading in path.readings
        )


@dataclass(frozen=True, slots=True)
class _Allows:
    """The four ways to let a request pass on one tier."""

    named: Allow
    unnamed: Allow
    named_unenforced: Allow
    unnamed_unenforced: Allow


def _allows(tier: Tier) -> _Allows:
    return _Allows(
        Allow(tier, named=True),
        Allow(tier, named=False),
        Allow(tier, named=True, unenforced_outcome="tier_required"),
        Allow(tier, named=False, unenforced_outcome="sign_in_required"),
    )


def _passes(route: Route, tier: Tier, lowest: Tier | None) -> bool:
    return (lowest is None or tier.rank >= lowest.rank) and set(route.features) <= set(tier.features)


def _rules(app: App, route: Route) -> tuple[Rule, ...]:
    """The rule of a route; for an app that is LiteLLM, also those of the aliases of its calls."""
    lowest = app.tier(route.min_tier) if route.min_tier is not None else None
    if route.min_tier is not None and lowest is None:
        raise ValueError(f"app {app.app_id}: route {route.path}: no tier {route.min_tier}")
    path = read_path(route.path).literal
    if path is None:
        raise ValueError(f"app {app.app_id}: route {route.path}: can be read in more than one way")
    tiers = frozenset(tier.tier_id for tier in app.tiers if _passes(route, tier, lowest))
    # HEAD answers what GET does without the body: a rule for one is a rule for both.
    methods = frozenset(route.methods) | ({"HEAD"} if "GET" in route.methods else frozenset())
    rule = Rule(path, path.casefold(), route.public, methods, tiers)
    if not app.is_litellm:
        return (rule,)
    others = (
        replace(rule, path=start, folded=start.casefold(), within=within.casefold())
        for start, within in aliases(path, public=route.public)
    )
    return (rule, *others)


class Policy:
    """The rules of one app, prepared for matching.

    Every route with a `min_tier` or `features` that covers the path in any reading must be satisfied: rules add up, and
    a nested one never relaxes the one above it. Only a `public` route does, if it is deeper than all of those and
    covers the path literally.
    """

    def __init__(self, app: App) -> None:
        self.app = app
        by_id = {former: tier for tier in app.tiers for former in tier.was}
        by_id |= {tier.tier_id: tier for tier in app.tiers}
        self.tiers: Mapping[str, Tier] = by_id
        self._allows = {tier_id: _allows(tier) for tier_id, tier in by_id.items()}
        self._default = self._allows[app.default_tier.tier_id]
        self._rules_of = tuple(_rules(app, route) for route in app.routes)
        self.rules = tuple(chain.from_iterable(self._rules_of))
        self._public = [rule for rule in self.rules if rule.public]
        self._paid = [rule for rule in self.rules if not rule.public]
        self._methods = _METHODS.union(*(rule.methods for rule in self.rules))
        self._paid_prefixes = tuple(rule.folded for rule in self._paid)
        # Authenticated users may access every plain path that in lower case begins with none of these.
        self.paid_path_prefixes = tuple(prefix.removesuffix("/").encode() for prefix in self._paid_prefixes)

    def decide(
        self, authentication: Authentication, tier_id: str, method: str, path: Path, *, preflight: bool = False
    ) -> Decision:
        """The decision for a request. `tier_id` is the tier of an authenticated user; an unknown id is the app's first
        tier.

        `preflight`: OPTIONS with Origin and Access-Control-Request-Method and no credential at all, as browsers send
        it before the real request. It passes as anonymous on the first tier: it cannot carry a credential, and
        refusing it would break the cross-origin calls of users who may make them.
        """
        if method in REFUSED_METHODS:
            return MethodRefused()
        if isinstance(authentication, AuthenticatedUser):
            allows = self._allows.get(tier_id, self._default)
            readings = path.readings
            if readings is not None and len(readings) == 1 and not readings[0].startswith(self._paid_prefixes):
                return allows.named
            return self._known(authentication, allows, method, path)
        if preflight and method == "OPTIONS":
            return self._default.unnamed
        return self._unknown(authentication, method, path)

    def _known(self, authentication: AuthenticatedUser, allows: _Allows, method: str, path: Path) -> Decision:
        tier = allows.named.tier
        if isinstance(authentication, Administrator):
            return allows.named  # with their own tier: only the rules of routes do not apply
        paid = self._required_rules(method, path)
        if all(tier.tier_id in rule.tiers for rule in paid or ()):
            return allows.named
        if not self.app.enforce:
            return allows.named_unenforced
        return TierRequired(authentication.user_id, self._tier_to_buy(paid or (), tier), tier)

    def _unknown(self, authentication: Authentication, method: str, path: Path) -> Decision:
        """Without an authenticated user nothing paid is open. With a rejected credential only public routes are, unless
        the app treats its sender as not signed in."""
        paid = self._required_rules(method, path)
        if paid is None:
            return self._default.unnamed
        free = all(self.app.default_tier.tier_id in rule.tiers for rule in paid)
        if (
            free
            and self.app.anonymous == "tag"
            and (not isinstance(authentication, RejectedCredential) or authentication.signed_out)
        ):
            return self._default.unnamed
        if not self.app.enforce:
            return self._default.unnamed_unenforced
        return SignInRequired(
            authentication.reason if isinstance(authentication, RejectedCredential) else "sign in to use this"
        )

    def _required_rules(self, method: str, path: Path) -> list[Rule] | None:
        """The rules that a request must satisfy, possibly none; None if it is public."""
        paid = self._paid_rules_covering(method, path)
        if path.literal is not None and self._public:
            deepest = max((rule.depth for rule in paid), default=0)
            for rule in self._public:
                if len(rule.path) > deepest and rule.for_method(method) and path.literal.startswith(rule.path):
                    return None
        return paid

    def _paid_rules_covering(self, method: str, path: Path) -> list[Rule]:
        """The paid rules that cover this path. Rules for certain methods also apply to unknown methods: what those do
        in the app cannot be known."""
        known = method in self._methods
        return [
            rule for rule in self._paid if (rule.for_method(method) or not known) and rule.matches_any_reading(path)
        ]

    def explain_routes(self, tier_id: str, method: str, path: Path) -> list[tuple[Route, Verdict]]:
        """The verdict of each route that covers this request, in the order of apps.json; for `explain`."""
        paid = self._paid_rules_covering(method, path)
        deepest = max((rule.depth for rule in paid), default=0)
        found: list[tuple[Route, Verdict]] = []
        for route, rules in zip(self.app.routes, self._rules_of, strict=True):
            covering = [rule for rule in rules if rule in paid]
            opening = [
                len(rule.path)
                for rule in rules
                if rule.public and rule.for_method(method) and (path.literal or "").startswith(rule.path)
            ]
            if covering:
                found.append((route, "passes" if tier_id in covering[0].tiers else "fails"))
            elif opening:
                found.append((route, "opens" if max(opening) > deepest else "too shallow"))
        return found

    def _tier_to_buy(self, rules: Sequence[Rule], current: Tier) -> Tier | None:
        """The tier to buy: the lowest one for sale above the current one that satisfies all rules, else any that
        does."""
        enough = [tier for tier in self.app.tiers if all(tier.tier_id in rule.tiers for rule in rules)]
        above = [tier for tier in enough if tier.rank > current.rank]
        return next((tier for tier in above if tier.for_sale), next(iter(above or enough), None))


def wants_page(method: str, accept: str, sec_fetch_mode: str) -> bool:
    """Whether the request is a browser navigation, which is redirected to a page; programs get JSON.

    By Sec-Fetch-Mode where it was sent (every browser since 2023); else by Accept, which contains text/html for
    navigations and not for `fetch`.
    """
    if sec_fetch_mode:
        return sec_fetch_mode == "navigate"
    return method in ("GET", "HEAD") and "text/html" in accept.lower()
