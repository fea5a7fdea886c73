"""What every use case works with: the catalog of now, the store, the vendors, the clock."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.catalog.model import App, Catalog, Price, SecretRef, Tier
from gateway.errors import InvalidInput, NotFound
from gateway.litellm import LiteLLM
from gateway.settings import Secrets
from gateway.store import Store
from gateway.stripe.client import Stripe

MAX_USER_ID = 200


@dataclass(frozen=True, slots=True)
class ResolvedPrice:
    """A price of a tier as Stripe has it. `unit_amount` is minor units, None for tiered prices."""

    price_id: str
    product_id: str
    unit_amount: int | None
    currency: str
    interval: str | None


@dataclass(slots=True, weakref_slot=True)
class Billing:
    """One per process. `catalog` and `known_prices` are replaced whole by a reload, never changed in place.

    `tell_gate(app_id, user_id, tier)` is called after a tier is committed, on the event loop.
    `catalog_secrets`: every secret that `catalog` names, newest first; replaced together with it.
    `app_keys`: app id → SHA-256 of each key its backend may use, from apps.json and from `skpay keys create`.
    `known_prices`: app id → price id → tier id, for every price that ever resolved for a tier of that app.
    """

    store: Store
    stripe: Stripe
    litellm: LiteLLM | None
    catalog: Catalog
    webhook_secrets: Secrets
    public_url: str
    clock: Callable[[], float]
    tell_gate: Callable[[str, str, str], None]
    catalog_secrets: Mapping[SecretRef, Secrets] = field(default_factory=dict)
    app_keys: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)
    known_prices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    resolved_prices: dict[Price, ResolvedPrice] = field(default_factory=dict)
    inbox_filled: asyncio.Event = field(default_factory=asyncio.Event)
    refresh_wanted: asyncio.Event = field(default_factory=asyncio.Event)
    wish_made: asyncio.Event = field(default_factory=asyncio.Event)
    notice_written: asyncio.Event = field(default_factory=asyncio.Event)
    _locks: weakref.WeakValueDictionary[tuple[str, str], asyncio.Lock] = field(
        default_factory=weakref.WeakValueDictionary
    )

    def now(self) -> int:
        """Epoch seconds."""
        return int(self.clock())

    def app(self, app_id: str) -> App:
        """Raises `NotFound`."""
        app = self.catalog.app(app_id)
        if app is None:
            raise NotFound(f"There is no app {app_id[:80]!r} in apps.json.", code="unknown_app")
        return app

    def lock(self, app_id: str, user_id: str) -> asyncio.Lock:
        """One purchase of a user at a time; forgotten when nobody holds it."""
        return self._locks.setdefault((app_id, user_id), asyncio.Lock())


def tier_of(app: App, tier_id: str) -> Tier:
    """A tier of `app` by its id. Raises `NotFound`."""
    tier = app.tier(tier_id)
    if tier is None:
        raise NotFound(
            f"{app.app_id} has no tier {tier_id[:80]!r}.",
            code="unknown_tier",
            fields={"tiers": [each.tier_id for each in app.tiers if not each.internal]},
        )
    return tier


def check_user_id(user_id: str) -> str:
    """`user_id` itself if it is 1 to 200 printable characters. Raises `InvalidInput`.

    Compared byte for byte everywhere; nothing is trimmed or folded, or two people could become one.
    """
    if not 1 <= len(user_id) <= MAX_USER_ID or not user_id.isprintable():
        raise InvalidInput(f"user_id: expected 1 to {MAX_USER_ID} printable characters.", code="invalid_user_id")
    return user_id
