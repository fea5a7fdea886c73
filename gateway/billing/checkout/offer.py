"""What the buyer's page shows: the tiers for sale, their prices as Stripe has them, and the user's current tier."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.billing.checkout.price_choice import offered
from gateway.billing.context import Billing
from gateway.billing.installed_apps import InstalledApps
from gateway.billing.price_book import PriceBook
from gateway.billing.refresh.status import limits, status
from gateway.billing.work.transaction import Transaction
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.catalog.model import App, Tier
from gateway.store import customers, refreshes


async def offer(billing: Billing, app_id: str, user_id: str) -> dict[str, object]:
    """Everything on the page for one user. Internal tiers are never shown. Raises `NotFound`."""
    app = billing.apps.app(app_id)
    now = await status(billing.work, billing.apps, app_id, user_id)
    known = await billing.work.read(lambda conn: customers.of_user(conn, app_id, user_id))
    return {
        "app": {"id": app.app_id, "name": app.name, "url": app.cancel_url},
        "user_id": user_id,
        "current": {key: now[key] for key in ("tier", "status", "source", "until", "ends_at", "period_end", "renews")},
        "pending": _pending(app, now),
        "current_name": _current_name(app, str(now["tier"])),
        "subscribed": now["source"] == "subscription",
        "has_customer": bool(known),
        "tiers": [_tier(billing.prices, tier) for tier in app.tiers if not tier.internal],
    }


async def change(work: UnitOfWork, apps: InstalledApps, app: App, user_id: str, tier_id: str) -> dict[str, object]:
    """Whether the user has the tier that they chose at Stripe, or will have it at a known time (`pending`).

    Otherwise a refresh is scheduled, unless one is under way. Raises `StoreUnavailable`.
    """
    now = await status(work, apps, app.app_id, user_id)
    chosen, current = app.tier(tier_id) or app.default_tier, app.tier(str(now["tier"])) or app.default_tier
    pending = _pending(app, now)
    granted_more = now["source"] == "grant" and current.rank > chosen.rank
    done = current == chosen or granted_more or (pending is not None and pending["tier"] == chosen.tier_id)
    if not done:
        await _want_refresh(work, app.app_id, user_id)
    return {
        "app": {"id": app.app_id, "name": app.name, "url": app.cancel_url},
        "changed": done,
        "tier": {"id": chosen.tier_id, "name": chosen.name},
        "current_name": current.name,
        "pending": pending,
    }


async def _want_refresh(work: UnitOfWork, app_id: str, user_id: str) -> None:
    """Schedule a refresh now; one that is due already, or waits for a retry, is left unchanged."""

    def job(tx: Transaction) -> None:
        before = refreshes.of_user(tx.conn, app_id, user_id)
        if before is None or before.due_at is None:
            tx.want_refresh(app_id, user_id)

    await work.write(job)


def _pending(app: App, now: Mapping[str, object]) -> dict[str, object] | None:
    """The scheduled change of tier, with the tier's name."""
    pending = now["pending_tier"]
    if not isinstance(pending, dict):
        return None
    tier_id = str(pending["tier"])
    return {"at": pending["at"], "tier": tier_id, "name": _current_name(app, tier_id)}


def _current_name(app: App, tier_id: str) -> str:
    return (app.tier(tier_id) or app.default_tier).name


def _tier(prices: PriceBook, tier: Tier) -> dict[str, object]:
    """`prices` are those that can be bought now; `for_sale`: there is one."""
    on_sale = [price for price in tier.prices if price not in prices.missing]
    return {
        "id": tier.tier_id,
        "name": tier.name,
        "features": list(tier.features),
        "limits": _declared(tier),
        "prices": [offered(price, prices.resolved.get(price)).as_json() for price in on_sale],
        "for_sale": bool(on_sale),
    }


def _declared(tier: Tier) -> dict[str, object]:
    """The limits that apps.json declares, null for unlimited. Defaults are not shown to buyers."""
    stated = tier.declared_limits | ({"budget_duration"} if "max_budget" in tier.declared_limits else set())
    return {name: value for name, value in limits(tier).items() if name in stated}
