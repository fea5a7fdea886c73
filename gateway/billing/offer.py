"""What the buyer's page shows: the tiers for sale, their prices as Stripe has them, and where the person stands."""

from __future__ import annotations

from gateway.billing.choice import offered
from gateway.billing.context import Billing
from gateway.billing.status import limits, status
from gateway.catalog.model import App, Tier
from gateway.store import customers


async def offer(billing: Billing, app_id: str, user_id: str) -> dict[str, object]:
    """Everything on the page for one person. Internal tiers are never shown. Raises `NotFound`."""
    app = billing.app(app_id)
    now = await status(billing, app_id, user_id)
    known = await billing.store.read(lambda conn: customers.of_user(conn, app_id, user_id))
    return {
        "app": {"id": app.app_id, "name": app.name, "url": app.cancel_url},
        "user_id": user_id,
        "current": {key: now[key] for key in ("tier", "status", "source", "until", "ends_at")},
        "current_name": _current_name(app, str(now["tier"])),
        "subscribed": now["source"] == "subscription",
        "has_customer": bool(known),
        "tiers": [_tier(billing, tier) for tier in app.tiers if not tier.internal],
    }


def _current_name(app: App, tier_id: str) -> str:
    return (app.tier(tier_id) or app.default_tier).name


def _tier(billing: Billing, tier: Tier) -> dict[str, object]:
    """`prices` are those that can be bought now; `for_sale`: there is one."""
    prices = [price for price in tier.prices if price not in billing.missing_prices]
    return {
        "id": tier.tier_id,
        "name": tier.name,
        "features": list(tier.features),
        "limits": _declared(tier),
        "prices": [offered(price, billing.resolved_prices.get(price)).as_json() for price in prices],
        "for_sale": bool(prices),
    }


def _declared(tier: Tier) -> dict[str, object]:
    """The limits that apps.json states, null for what it calls unlimited: nothing else is promised to a buyer."""
    stated = tier.declared_limits | ({"budget_duration"} if "max_budget" in tier.declared_limits else set())
    return {name: value for name, value in limits(tier).items() if name in stated}
