"""The catalog: the content of apps.json as frozen values. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from gateway.catalog.identity import IdentityKind
from gateway.catalog.identity.kind import TrustedHeader
from gateway.catalog.litellm_id import DEFAULT_TEMPLATE, LiteLLMIdTemplate
from gateway.catalog.secret_ref import SecretRef
from gateway.catalog.values import OLDEST_TRAEFIK


@dataclass(frozen=True, slots=True)
class Limits:
    """What LiteLLM allows on a tier; None is unlimited. `models` None is every model. Budgets are in US dollars."""

    max_budget_usd: float | None = None
    budget_duration: str = "1d"
    tpm_limit: int | None = None
    rpm_limit: int | None = None
    models: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Price:
    """One Stripe price of a tier, by `price_id` or by `lookup_key` (exactly one). `unit_amount` is minor units.

    It is paid every `interval_count` intervals, such as 3 months.
    """

    price_id: str | None = None
    lookup_key: str | None = None
    unit_amount: int | None = None
    currency: str | None = None
    interval: Literal["day", "week", "month", "year"] | None = None
    interval_count: int | None = None


@dataclass(frozen=True, slots=True)
class OtherPrice:
    """A price that is sold beside the tiers and gives none, by exactly one of the three."""

    price_id: str | None = None
    lookup_key: str | None = None
    product_id: str | None = None


@dataclass(frozen=True, slots=True)
class Rate:
    """`average` requests per `period` (`1s`), `burst` of them at once, per user or, without one, per address."""

    average: int
    period: str
    burst: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """What Traefik allows the users of a tier; None is no limit. `in_flight` is the number of concurrent requests."""

    rate: Rate | None = None
    in_flight: int | None = None


@dataclass(frozen=True, slots=True)
class Tier:
    """A named level of an app. `rank` is its place in the list: 0 is the default tier.

    `declared_limits` are the keys of `limits` in apps.json: a missing one is unlimited too, but not promised to buyers.
    """

    tier_id: str
    name: str
    rank: int
    prices: tuple[Price, ...]
    features: tuple[str, ...]
    limits: Limits
    internal: bool
    was: tuple[str, ...] = ()
    traffic: Traffic | None = None
    declared_limits: frozenset[str] = frozenset()

    @property
    def for_sale(self) -> bool:
        return bool(self.prices) and not self.internal


@dataclass(frozen=True, slots=True)
class Route:
    """A path prefix (by whole segments) and what it requires. `methods` empty means all."""

    path: str
    public: bool = False
    min_tier: str | None = None
    features: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LiteLLMMode:
    """How limits reach LiteLLM for this app's users; `user_id` is a template with `{user_id}` and `{app_id}`.

    `shared_key` and `user_header`: how the app calls LiteLLM, to prove that limits are enforced.
    """

    mode: Literal["customer", "internal_user"]
    user_id: str = DEFAULT_TEMPLATE
    shared_users: bool = False
    shared_key: SecretRef | None = None
    user_header: str = "X-OpenWebUI-User-Id"


@dataclass(frozen=True, slots=True)
class Notify:
    """Where notices of tier changes are sent, and the secret that signs them (Standard Webhooks)."""

    url: str
    secret: SecretRef


@dataclass(frozen=True, slots=True)
class App:
    """One entry of apps.json. `hosts` are lower-case ASCII (punycode). `tiers` are in rank order, at least one.

    `cors` are the origins whose pages may read refusals, as browsers send them.
    `tier_upstreams` are (tier id, URL) of the tiers that have another upstream than the rest.
    """

    app_id: str
    name: str
    hosts: tuple[str, ...]
    upstream: str
    api_key: SecretRef | None
    identity: tuple[IdentityKind, ...]
    litellm: LiteLLMMode | None
    success_url: str
    cancel_url: str
    grace_seconds: int
    anonymous: Literal["tag", "refuse"]
    tiers: tuple[Tier, ...]
    routes: tuple[Route, ...]
    enforce: bool = True
    sign_in_url: str | None = None
    notify: Notify | None = None
    on_dispute: Literal["hold", "keep"] = "hold"
    on_full_refund: Literal["keep", "hold"] = "keep"
    assertion: bool = False
    was: tuple[str, ...] = ()
    tier_upstreams: tuple[tuple[str, str], ...] = ()
    other_prices: tuple[OtherPrice, ...] = ()
    cors: tuple[str, ...] = ()

    @property
    def default_tier(self) -> Tier:
        return self.tiers[0]

    @property
    def is_litellm(self) -> bool:
        """Whether the app is LiteLLM itself."""
        return any(kind.app_is_litellm for kind in self.identity)

    @property
    def trusted_headers(self) -> tuple[TrustedHeader, ...]:
        """The headers that are trusted because a Traefik middleware sets them."""
        return tuple(kind.trusted_header for kind in self.identity if kind.trusted_header is not None)

    @property
    def litellm_id_template(self) -> LiteLLMIdTemplate:
        return LiteLLMIdTemplate.parse(self.litellm.user_id if self.litellm else DEFAULT_TEMPLATE, self.app_id)

    def litellm_id(self, user_id: str) -> str:
        """The id under which LiteLLM knows this user."""
        return self.litellm_id_template.litellm_id(user_id)

    def tier(self, tier_id: str) -> Tier | None:
        """The tier with this id or former id; None if there is none."""
        for tier in self.tiers:
            if tier.tier_id == tier_id:
                return tier
        for tier in self.tiers:
            if tier_id in tier.was:
                return tier
        return None


Provider = Literal["file", "http", "docker", "swarm"]
"""How Traefik gets the routes."""


GateKind = Literal["forward_auth", "plugin"]
"""How Traefik calls the gate."""


@dataclass(frozen=True, slots=True)
class Routing:
    """How Traefik and the tunnel reach each service; the defaults fit a plain Traefik + Cloudflare Tunnel stack."""

    entry_points: tuple[str, ...] = ("web",)
    cert_resolver: str | None = None
    gate_urls: tuple[str, ...] = ("http://skpayments:8081",)
    public_service_url: str = "http://skpayments:8080"
    traefik_url: str = "http://traefik:80"
    network: str = "proxy"
    provider: Provider = "file"
    traefik_version: str = OLDEST_TRAEFIK
    trusted_ips: tuple[str, ...] = ()
    gate: GateKind = "forward_auth"
    gate_relay: bool = False


@dataclass(frozen=True, slots=True)
class Catalog:
    """apps.json after validation. `apps` is in the file's order; `digest` changes with any byte of the file."""

    apps: Mapping[str, App]
    routing: Routing
    digest: str

    def app(self, app_id: str) -> App | None:
        return self.apps.get(app_id)

    def prices(self) -> tuple[tuple[App, Tier, Price], ...]:
        """Every price of every tier, in the file's order."""
        return tuple((app, tier, price) for app in self.apps.values() for tier in app.tiers for price in tier.prices)

    def secret_refs(self) -> tuple[tuple[str, SecretRef], ...]:
        """Every secret that apps.json names, with its path there."""
        found: list[tuple[str, SecretRef]] = []
        for number, app in enumerate(self.apps.values()):
            if app.api_key is not None:
                found.append((f"apps[{number}].api_key", app.api_key))
            found.extend(
                (f"apps[{number}].identity[{place}].{key}", ref)
                for place, kind in enumerate(app.identity)
                for key, ref in kind.secret_refs
            )
            if app.litellm is not None and app.litellm.shared_key is not None:
                found.append((f"apps[{number}].litellm.shared_key", app.litellm.shared_key))
            if app.notify is not None:
                found.append((f"apps[{number}].notify.secret", app.notify.secret))
        return tuple(found)


EMPTY_CATALOG = Catalog(apps=MappingProxyType({}), routing=Routing(), digest="")
