"""Prices at Stripe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.stripe.errors import StripeNotFound
from gateway.stripe.fields import Raw, required_text
from gateway.stripe.transport import Transport
from gateway.urls import api_path


@dataclass(frozen=True, slots=True)
class ResolvedPrice:
    """A price as Stripe has it. `unit_amount` is minor units, None for tiered prices.

    It recurs every `interval_count` intervals; both are None for a one-time price.
    """

    price_id: str
    product_id: str
    unit_amount: int | None
    currency: str
    interval: str | None
    interval_count: int | None = None


class Prices:
    """Both methods return None where Stripe has no such active price."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def get(self, price_id: str) -> ResolvedPrice | None:
        try:
            found = await self._transport.get(api_path("v1/prices", price_id))
        except StripeNotFound:
            return None
        return read_price(found) if found.get("active") is not False else None

    async def with_lookup_key(self, lookup_key: str) -> ResolvedPrice | None:
        page = await self._transport.get("/v1/prices", {"lookup_keys": [lookup_key], "active": True})
        data = page.get("data")
        return read_price(data[0]) if isinstance(data, list) and data and isinstance(data[0], dict) else None


def read_price(raw: Raw) -> ResolvedPrice:
    product: Any = raw.get("product")
    recurring = raw.get("recurring")
    return ResolvedPrice(
        price_id=required_text(raw, "id", "price"),
        product_id=str(product.get("id") if isinstance(product, dict) else product),
        unit_amount=raw.get("unit_amount") if isinstance(raw.get("unit_amount"), int) else None,
        currency=str(raw.get("currency") or ""),
        interval=recurring.get("interval") if isinstance(recurring, dict) else None,
        interval_count=int(recurring.get("interval_count") or 1) if isinstance(recurring, dict) else None,
    )
