"""Prices in `other_prices` of an app: sold beside the tiers, and giving none. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.catalog.model import App
from gateway.tiers.model import Item, Subscription


def is_other_price(app: App, item: Item, known_prices: Mapping[str, str]) -> bool:
    """Whether apps.json declares that this item gives no tier.

    The most specific entry decides: a price id or lookup key of a tier, then one of `other_prices`, then a price that
    once resolved for a tier (`known_prices`), then a product of `other_prices`.
    """
    if not app.other_prices:
        return False
    prices = [price for tier in app.tiers for price in tier.prices]
    if any(_names(price.price_id, price.lookup_key, item) for price in prices):
        return False
    if any(_names(other.price_id, other.lookup_key, item) for other in app.other_prices):
        return True
    products = {other.product_id for other in app.other_prices if other.product_id is not None}
    return item.price_id not in known_prices and item.product_id in products


def has_only_other_prices(app: App, subscription: Subscription, known_prices: Mapping[str, str]) -> bool:
    """Whether no item of this subscription belongs to a tier; False where it has no items."""
    return bool(subscription.items) and all(is_other_price(app, item, known_prices) for item in subscription.items)


def _names(price_id: str | None, lookup_key: str | None, item: Item) -> bool:
    return item.price_id == price_id or (lookup_key is not None and item.lookup_key == lookup_key)
