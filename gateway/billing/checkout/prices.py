"""Which Stripe price belongs to which tier: lookup keys are resolved at Stripe, and every resolved id is stored."""

from __future__ import annotations

from sqlalchemy import Connection

from gateway.billing.context import Billing
from gateway.billing.price_book import PriceBook
from gateway.billing.work.alerting import open_alert
from gateway.billing.work.refusals import alert_refusals
from gateway.billing.work.transaction import Transaction
from gateway.catalog.model import App, Catalog, Price, Tier
from gateway.errors import Conflict
from gateway.store import alerts, entitlements, prices
from gateway.stripe.client import Stripe
from gateway.stripe.prices import ResolvedPrice

MISSING, DIFFERS = "price_missing", "price_differs"


async def load_known_prices(billing: Billing) -> None:
    """Fill `billing.prices.known_prices` from the store and from the price ids that apps.json itself names."""
    stored = await billing.work.read(prices.known)
    known: dict[str, dict[str, str]] = {app_id: {} for app_id in billing.apps.catalog.apps}
    for each in stored.values():
        known.setdefault(each.app_id, {})[each.price_id] = each.tier
    for app, tier, price in billing.apps.catalog.prices():
        if price.price_id:
            known[app.app_id][price.price_id] = tier.tier_id
    for app_id, learned in billing.prices.known_prices.items():
        if app_id in known:  # added while we read the store
            known[app_id] = {**learned, **known[app_id]}
    billing.prices.known_prices = known


async def resolve_prices(billing: Billing) -> None:
    """Resolve every price of the catalog at Stripe, store the ids, and alert on prices that are missing or differ.

    Raises `UpstreamFailed` when Stripe does not answer; a checkout then resolves its price itself.
    """
    right: set[tuple[str, str]] = set()
    catalog = billing.apps.catalog
    async with alert_refusals(billing.work, "prices_refused", "prices"):
        for app, tier, price in catalog.prices():
            right |= await _check_price(billing, app, tier, price)
    await load_known_prices(billing)
    billing.prices.known_products = _known_products(billing.apps.catalog, billing.prices)
    billing.prices.complete = billing.apps.catalog is catalog
    subjects = {price_name(app, tier, price) for app, tier, price in catalog.prices()}

    def conclude(tx: Transaction) -> None:
        # A price that was unknown may belong to a tier or to `other_prices` now.
        for concern in ("unknown_price", "duplicate_subscription"):
            for app_id, user_id in entitlements.with_concern(tx.conn, concern):
                tx.want_refresh(app_id, user_id)
        raised = [(each.kind, each.subject) for each in alerts.live(tx.conn) if each.kind in (MISSING, DIFFERS)]
        # The alert of a price that apps.json no longer names is resolved.
        tx.resolve_alerts(each for each in raised if each in right or each[1] not in subjects)

    await billing.work.write(conclude)


def _known_products(catalog: Catalog, book: PriceBook) -> dict[str, dict[str, str]]:
    """App id → product id → tier id, where every price of the product that apps.json names is that one tier's.

    So the tier of an old price is known after its lookup key was moved and the database was lost (T15).
    """
    owners: dict[str, set[tuple[str, str]]] = {}
    for app, tier, price in catalog.prices():
        if price in book.resolved:
            owners.setdefault(book.resolved[price].product_id, set()).add((app.app_id, tier.tier_id))
    known: dict[str, dict[str, str]] = {}
    for product_id, owning in owners.items():
        if len(owning) == 1:
            ((app_id, tier_id),) = owning
            known.setdefault(app_id, {})[product_id] = tier_id
    return known


async def _check_price(billing: Billing, app: App, tier: Tier, price: Price) -> set[tuple[str, str]]:
    """Open alerts for what is wrong with a price; returns the alerts, as (kind, subject), to resolve."""
    subject = price_name(app, tier, price)
    try:
        resolved = await resolve(billing, app, tier, price)
    except Conflict:
        return set()
    differs = differences(price, resolved)
    if any(other.product_id == resolved.product_id for other in app.other_prices):
        differs.append(
            f"its product {resolved.product_id} stands in other_prices, so an old price of it may give no tier; "
            "name the other prices of that product by price_id instead"
        )
    if differs:
        await open_alert(billing.work, "price_differs", subject, "; ".join(differs))
        return {(MISSING, subject)}
    return {(MISSING, subject), (DIFFERS, subject)}


def differences(price: Price, resolved: ResolvedPrice) -> list[str]:
    """Where apps.json declares another price than Stripe has; a line for each. An interval without a count means 1."""
    interval_count = price.interval_count or (1 if price.interval else None)
    return [
        f"{name} is {found!r} at Stripe, {expected!r} in apps.json"
        for name, expected, found in (
            ("unit_amount", price.unit_amount, resolved.unit_amount),
            ("currency", price.currency, resolved.currency),
            ("interval", price.interval, resolved.interval),
            ("interval_count", interval_count, resolved.interval_count),
        )
        if expected is not None and expected != found
    ]


def price_name(app: App, tier: Tier, price: Price) -> str:
    """How an alert, and doctor, name a price."""
    return f"{app.app_id}/{tier.tier_id}/{price.lookup_key or price.price_id}"


async def resolve(billing: Billing, app: App, tier: Tier, price: Price) -> ResolvedPrice:
    """This price at Stripe now; its id is stored for good as one of this tier.

    Raises `Conflict` if Stripe has no such price, with an alert for the operator; `UpstreamFailed`.
    """
    resolved = await price_at_stripe(billing.stripe, price)
    if resolved is None:
        billing.prices.missing.add(price)
        billing.prices.resolved.pop(price, None)
        missing = _missing(app, tier, price)
        await open_alert(billing.work, "price_missing", price_name(app, tier, price), missing.detail)
        raise missing
    billing.prices.missing.discard(price)

    def remember(conn: Connection) -> None:
        prices.record(conn, resolved.price_id, app.app_id, tier.tier_id, price.lookup_key, billing.work.now())

    await billing.work.store.write(remember)
    # At once: a checkout opened with this price may be paid after its lookup key has moved.
    billing.prices.add_known(app.app_id, {resolved.price_id: tier.tier_id})
    billing.prices.resolved[price] = resolved
    return resolved


def _missing(app: App, tier: Tier, price: Price) -> Conflict:
    """With a message for the buyer, and a detail for the operator."""
    name = price.lookup_key or price.price_id
    return Conflict(
        f"{tier.name} is not for sale right now.",
        code=MISSING,
        detail=f"Stripe has no active price {name!r} for {app.app_id}/{tier.tier_id}.",
    )


async def price_at_stripe(stripe: Stripe, price: Price) -> ResolvedPrice | None:
    """A price of apps.json as Stripe has it now; None if it has none that is active. Raises `UpstreamFailed`."""
    if price.price_id:
        return await stripe.prices.get(price.price_id)
    return await stripe.prices.with_lookup_key(price.lookup_key or "")
