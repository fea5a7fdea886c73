"""Subscriptions and their schedules, in the shape of any API version.

Since 2025-03-31.basil a subscription's period stands on its items; before, it stood at the top.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from gateway.errors import UpstreamFailed
from gateway.stripe.fields import Raw, instant, list_items, optional_text, reference_id, required_text
from gateway.stripe.transport import Transport
from gateway.tiers.model import Item, Phase, Schedule, Subscription
from gateway.urls import api_path

_SUBSCRIPTIONS = "/v1/subscriptions"


class Subscriptions:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def of_customer(self, customer_id: str, *, with_ended: bool) -> list[Subscription]:
        """Newest first. Raises `StripeNotFound` for a customer that Stripe does not know."""
        query = {"customer": customer_id, **({"status": "all"} if with_ended else {})}
        return [read_subscription(raw) async for raw in self._transport.list_all(_SUBSCRIPTIONS, query)]

    async def pages(self) -> AsyncIterator[list[Subscription]]:
        """All subscriptions of the account, ended ones too, page by page; without those of test clocks."""
        async for page in self._transport.pages(_SUBSCRIPTIONS, {"status": "all"}):
            yield [read_subscription(raw) for raw in page]

    async def schedule(self, schedule_id: str) -> Schedule:
        return read_schedule(await self._transport.get(api_path("v1/subscription_schedules", schedule_id)))

    async def cancel(self, subscription_id: str) -> None:
        """At once. Raises `StripeNotFound` for one that is canceled already."""
        await self._transport.delete(api_path("v1/subscriptions", subscription_id))


def read_subscription(raw: Raw) -> Subscription:
    """A `subscription` object. Raises `UpstreamFailed` if it has no id or no status."""
    rows = list_items(raw.get("items"))
    items = tuple(_item(item, raw) for item in rows)
    starts = [at for row in rows if (at := instant(row.get("current_period_start"))) is not None]
    ends = [item.period_end_at for item in items if item.period_end_at is not None]
    pause = raw.get("pause_collection")
    return Subscription(
        subscription_id=required_text(raw, "id", "subscription"),
        customer_id=reference_id(raw.get("customer")) or "",
        status=required_text(raw, "status", "subscription"),
        items=items,
        created_at=instant(raw.get("created")) or 0,
        # Mixed intervals: cancel_at_period_end resolves to the earliest item's end.
        period_end_at=min(ends) if ends else instant(raw.get("current_period_end")),
        cancel_at=instant(raw.get("cancel_at")),
        cancel_at_period_end=raw.get("cancel_at_period_end") is True,
        ended_at=instant(raw.get("ended_at")),
        trial_end_at=instant(raw.get("trial_end")),
        pause_behavior=str(pause.get("behavior")) if isinstance(pause, Mapping) else None,
        collection_method=str(raw.get("collection_method") or "charge_automatically"),
        pending_update=isinstance(raw.get("pending_update"), Mapping),
        schedule_id=reference_id(raw.get("schedule")),
        period_start_at=max(starts) if starts else instant(raw.get("current_period_start")),
    )


def read_schedule(raw: Raw) -> Schedule:
    """A `subscription_schedule` object; a phase without a start is left out."""
    phases = [_phase(phase) for phase in raw.get("phases") or () if isinstance(phase, Mapping)]
    cancels = raw.get("end_behavior") == "cancel"
    return Schedule(tuple(phase for phase in phases if phase is not None), cancels)


def _phase(raw: Raw) -> Phase | None:
    start_at = instant(raw.get("start_date"))
    if start_at is None:
        return None
    items = raw.get("items")
    rows = [item for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []
    prices = (reference_id(item.get("price")) for item in rows)
    return Phase(start_at, instant(raw.get("end_date")), tuple(price for price in prices if price))


def _item(raw: Any, of: Raw) -> Item:
    if not isinstance(raw, Mapping):
        raise UpstreamFailed("Stripe answered a subscription item that is no object.")
    price = raw.get("price")
    if not isinstance(price, Mapping):
        price = {"id": price} if isinstance(price, str) else {}
    recurring = price.get("recurring")
    quantity = raw.get("quantity")
    return Item(
        item_id=str(raw.get("id") or ""),
        price_id=str(price.get("id") or ""),
        lookup_key=optional_text(price.get("lookup_key")),
        product_id=reference_id(price.get("product")),
        interval=recurring.get("interval") if isinstance(recurring, Mapping) else None,
        quantity=quantity if isinstance(quantity, int) else None,
        period_end_at=instant(raw.get("current_period_end")) or instant(of.get("current_period_end")),
    )
