"""Which Stripe price belongs to which tier: lookup keys are resolved at Stripe and what they resolved to is kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection

from gateway.billing.alerting import open_alert, resolve_alert
from gateway.billing.context import Billing, ResolvedPrice
from gateway.catalog.model import App, Price, Tier
from gateway.errors import Conflict, InvalidInput
from gateway.store import prices
from gateway.stripe.client import StripeError


async def load_known_prices(billing: Billing) -> None:
    """Fill `billing.known_prices` from the store and from the price ids that apps.json itself names."""
    stored = await billing.store.read(prices.known)
    known: dict[str, dict[str, str]] = {app_id: {} for app_id in billing.catalog.apps}
    for each in stored.values():
        known.setdefault(each.app_id, {})[each.price_id] = each.tier
    for app, tier, price in billing.catalog.prices():
        if price.price_id:
            known[app.app_id][price.price_id] = tier.tier_id
    billing.known_prices = known


async def resolve_prices(billing: Billing) -> None:
    """Ask Stripe for every price of the catalog, keep their ids, and alert on what is missing or differs.

    Raises `UpstreamFailed` when Stripe cannot be asked; nothing is lost then, a checkout asks again.
    """
    for app in billing.catalog.apps.values():
        for tier in app.tiers:
            for price in tier.prices:
                await _resolve_one(billing, app, tier, price)
    await load_known_prices(billing)


async def _resolve_one(billing: Billing, app: App, tier: Tier, price: Price) -> None:
    subject = f"{app.app_id}/{tier.tier_id}/{price.lookup_key or price.price_id}"
    try:
        resolved = await resolve(billing, app, tier, price)
    except Conflict as exc:
        await open_alert(billing, "price_missing", subject, exc.message)
        return
    await resolve_alert(billing, "price_missing", subject)
    differs = [
        f"{name} is {found!r} at Stripe, {wanted!r} in apps.json"
        for name, wanted, found in (
            ("unit_amount", price.unit_amount, resolved.unit_amount),
            ("currency", price.currency, resolved.currency),
            ("interval", price.interval, resolved.interval),
        )
        if wanted is not None and wanted != found
    ]
    if differs:
        await open_alert(billing, "price_differs", subject, "; ".join(differs))
    else:
        await resolve_alert(billing, "price_differs", subject)


async def resolve(billing: Billing, app: App, tier: Tier, price: Price) -> ResolvedPrice:
    """This price at Stripe now; its id is kept for ever as one of this tier. Raises `Conflict`, `UpstreamFailed`."""
    found = await _by_id(billing, price.price_id) if price.price_id else await _by_lookup_key(billing, price.lookup_key)
    name = price.lookup_key or price.price_id
    if found is None:
        raise Conflict(f"Stripe has no active price {name!r} for {app.app_id}/{tier.tier_id}.", code="price_missing")
    resolved = _read(found)

    def remember(conn: Connection) -> None:
        prices.remember(conn, resolved.price_id, app.app_id, tier.tier_id, price.lookup_key, billing.now())

    await billing.store.write(remember)
    billing.resolved_prices[price] = resolved
    return resolved


async def _by_id(billing: Billing, price_id: str) -> dict[str, Any] | None:
    try:
        return await billing.stripe.get(f"/v1/prices/{price_id}")
    except StripeError as exc:
        if exc.stripe_code == "resource_missing":
            return None
        raise


async def _by_lookup_key(billing: Billing, lookup_key: str | None) -> dict[str, Any] | None:
    page = await billing.stripe.get("/v1/prices", {"lookup_keys": [lookup_key], "active": True})
    data = page.get("data")
    return data[0] if isinstance(data, list) and data and isinstance(data[0], dict) else None


def _read(raw: dict[str, Any]) -> ResolvedPrice:
    product, recurring = raw.get("product"), raw.get("recurring")
    return ResolvedPrice(
        price_id=str(raw.get("id")),
        product_id=str(product.get("id") if isinstance(product, dict) else product),
        unit_amount=raw.get("unit_amount") if isinstance(raw.get("unit_amount"), int) else None,
        currency=str(raw.get("currency") or ""),
        interval=recurring.get("interval") if isinstance(recurring, dict) else None,
    )


def choose(tier: Tier, interval: str | None) -> Price:
    """The tier's price for `interval` (`month`, `year` …), or its first one for None. Raises `InvalidInput`."""
    if not tier.for_sale:
        raise InvalidInput(f"The tier {tier.tier_id!r} is not for sale.", code="tier_not_for_sale")
    if interval is None:
        return tier.prices[0]
    for price in tier.prices:
        if price.interval == interval:
            return price
    offered = _intervals(tier.prices)
    raise InvalidInput(
        f"The tier {tier.tier_id!r} has no price with the interval {interval[:20]!r}.",
        code="unknown_interval",
        fields={"intervals": offered},
    )


def _intervals(offered: Iterable[Price]) -> list[str]:
    return sorted({price.interval for price in offered if price.interval})
