"""Which Stripe price or product stands for which tier, as far as Stripe has answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.catalog.model import Price
from gateway.stripe.prices import ResolvedPrice


@dataclass(slots=True)
class PriceBook:
    """The mappings are replaced whole, never changed in place.

    `known_prices`: app id → price id → tier id, for every price that ever resolved for a tier of that app.
    `known_products`: app id → product id → tier id, for products whose prices are all one tier's.
    `resolved`: configured prices as Stripe has them. `missing`: those for which Stripe last had no active price; nobody
    can buy them. `complete`: Stripe has answered for every price of the catalog since it was installed.
    """

    known_prices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    known_products: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    resolved: dict[Price, ResolvedPrice] = field(default_factory=dict)
    missing: set[Price] = field(default_factory=set)
    complete: bool = False

    def add_known(self, app_id: str, learned: Mapping[str, str]) -> None:
        """Add prices (id → tier id) of an app. Prices added concurrently are kept."""
        known = self.known_prices.get(app_id, {})
        if any(known.get(price_id) != tier_id for price_id, tier_id in learned.items()):
            self.known_prices = {**self.known_prices, app_id: {**known, **learned}}

    def known_tiers(self, app_id: str) -> dict[str, str]:
        """Price id → tier id, and product id → tier id where all of a product's prices are one tier's."""
        return {**self.known_products.get(app_id, {}), **self.known_prices.get(app_id, {})}
