"""From a subscription's invoices: the tier that was paid last, and since when a payment is missing. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.catalog.model import App
from gateway.tiers.model import Invoice, LastGoodTier, Subscription

UNCOLLECTED_STATUSES = ("void", "uncollectible")


def tier_paid_last(
    app: App, invoices: Sequence[Invoice], known_prices: Mapping[str, str], last_tier: LastGoodTier | None
) -> tuple[int, str | None] | None:
    """The rank that was paid last and its price id, by the newest paid invoice that names a price of a tier.

    An invoice for seats alone names none. `last_tier` gives the tier of a price that is no longer known. (0, None)
    where only other prices were ever paid; None where no paid invoice names a price.
    """
    named = False
    for invoice in sorted((each for each in invoices if each.paid), key=lambda each: each.created_at, reverse=True):
        named = named or bool(invoice.charged)
        ranked = [
            (tier.rank, price_id)
            for price_id, product_id in invoice.charged
            if (tier_id := _tier_of_price(price_id, product_id, known_prices, last_tier))
            and (tier := app.tier(tier_id))
        ]
        if ranked:
            return max(ranked)
    if not named:
        return None
    tier = app.tier(last_tier.tier) if last_tier else None
    return (tier.rank, last_tier.price_id) if tier and last_tier else (0, None)


def _tier_of_price(
    price_id: str, product_id: str | None, known_prices: Mapping[str, str], last_tier: LastGoodTier | None
) -> str | None:
    if price_id in known_prices:
        return known_prices[price_id]
    if last_tier is not None and last_tier.price_id == price_id:
        return last_tier.tier
    return known_prices.get(product_id or "")


def unpaid_since(invoices: Sequence[Invoice]) -> int | None:
    """When the oldest unpaid invoice since the newest paid one should have been paid.

    Older ones do not count: later periods were paid. None if no invoice is unpaid, or none was ever paid.
    """
    paid = _newest_paid(invoices)
    unpaid = [each for each in invoices if paid and each.created_at >= paid.created_at and _is_unpaid(each)]
    return min((each.failing_since_at for each in unpaid), default=None)


def grace_starts_at(subscription: Subscription, invoices: Sequence[Invoice]) -> int | None:
    """The instant at which the grace of a past_due subscription starts; None if nothing was ever paid.

    Without an unpaid invoice, it is the end of the period that was paid.
    """
    paid = _newest_paid(invoices)
    if paid is None:
        return None
    instants = (unpaid_since(invoices), paid.period_end_at, subscription.period_start_at, paid.created_at)
    return next(at for at in instants if at is not None)


def _newest_paid(invoices: Sequence[Invoice]) -> Invoice | None:
    return max((each for each in invoices if each.paid), key=lambda each: each.created_at, default=None)


def _is_unpaid(invoice: Invoice) -> bool:
    """Open, or attempted or sent before it was made void or uncollectible.

    Paused collection voids invoices that were never sent for payment.
    """
    if invoice.status in UNCOLLECTED_STATUSES:
        return invoice.first_attempt_at is not None or invoice.due_at is not None
    return invoice.status == "open"
