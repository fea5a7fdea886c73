"""Stripe's objects, in the shape of any API version, as our values. Pure.

Since 2025-03-31.basil a subscription's period stands on its items and an invoice names its subscription under
`parent`; before, both stood at the top. Everything else that we read kept its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.errors import UpstreamFailed
from gateway.tiers.model import Dispute, FraudWarning, Invoice, Item, Phase, Refund, Schedule, Subscription

Raw = Mapping[str, Any]
_MONTH_SECONDS = 31 * 86_400


def subscription(raw: Raw) -> Subscription:
    """A `subscription` object. Raises `UpstreamFailed` if it has not even an id, a customer and a status."""
    rows = _list(raw.get("items"))
    items = tuple(_item(item, raw) for item in rows)
    starts = [at for row in rows if (at := _instant(row.get("current_period_start"))) is not None]
    ends = [item.period_end_at for item in items if item.period_end_at is not None]
    pause = raw.get("pause_collection")
    return Subscription(
        subscription_id=_text(raw, "id", "subscription"),
        customer_id=_id(raw.get("customer")) or "",
        status=_text(raw, "status", "subscription"),
        items=items,
        created_at=_instant(raw.get("created")) or 0,
        # Mixed intervals: cancel_at_period_end resolves to the earliest item's end.
        period_end_at=min(ends) if ends else _instant(raw.get("current_period_end")),
        cancel_at=_instant(raw.get("cancel_at")),
        cancel_at_period_end=raw.get("cancel_at_period_end") is True,
        ended_at=_instant(raw.get("ended_at")),
        trial_end_at=_instant(raw.get("trial_end")),
        pause_behavior=str(pause.get("behavior")) if isinstance(pause, Mapping) else None,
        collection_method=str(raw.get("collection_method") or "charge_automatically"),
        pending_update=isinstance(raw.get("pending_update"), Mapping),
        schedule_id=_id(raw.get("schedule")),
        period_start_at=max(starts) if starts else _instant(raw.get("current_period_start")),
    )


def schedule(raw: Raw) -> Schedule:
    """A `subscription_schedule` object: a phase without a start is left out."""
    phases = [_phase(phase) for phase in raw.get("phases") or () if isinstance(phase, Mapping)]
    cancels = raw.get("end_behavior") == "cancel"
    return Schedule(tuple(phase for phase in phases if phase is not None), cancels)


def _phase(raw: Raw) -> Phase | None:
    start_at = _instant(raw.get("start_date"))
    items = raw.get("items")
    prices = [_id(item.get("price")) for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []
    if start_at is None:
        return None
    return Phase(start_at, _instant(raw.get("end_date")), tuple(price for price in prices if price))


def invoice(raw: Raw) -> Invoice:
    """An `invoice` object. Raises `UpstreamFailed` if it has no id or no status."""
    transitions = raw.get("status_transitions")
    finalized_at = _instant(transitions.get("finalized_at")) if isinstance(transitions, Mapping) else None
    attempts = raw.get("attempt_count")
    attempt_count = attempts if isinstance(attempts, int) else 0
    created_at = _instant(raw.get("created")) or 0
    charging = [
        line for line in _list(raw.get("lines")) if isinstance(line, Mapping) and _amount(line.get("amount")) > 0
    ]
    return Invoice(
        invoice_id=_text(raw, "id", "invoice"),
        subscription_id=_subscription_of_invoice(raw),
        status=_text(raw, "status", "invoice"),
        amount_due=_amount(raw.get("amount_due")),
        amount_paid=_amount(raw.get("amount_paid")),
        attempt_count=attempt_count,
        created_at=created_at,
        # The first attempt comes with finalization; Stripe names no instant of its own for it.
        first_attempt_at=(finalized_at or created_at) if attempt_count else None,
        hosted_invoice_url=raw.get("hosted_invoice_url") if isinstance(raw.get("hosted_invoice_url"), str) else None,
        charged=tuple(charged for line in charging if (charged := _charged(line))),
        currency=str(raw.get("currency") or ""),
        total=_amount(raw.get("total")),
        due_at=_instant(raw.get("due_date")),
        finalized_at=finalized_at,
        period_end_at=_last_end(charging),
    )


def dispute(raw: Raw, customer_id: str) -> Dispute:
    """A `dispute` object, which names no customer. Raises `UpstreamFailed` if it has no id or no status."""
    details = raw.get("evidence_details")
    return Dispute(
        dispute_id=_text(raw, "id", "dispute"),
        customer_id=customer_id,
        charge_id=_id(raw.get("charge")) or "",
        status=_text(raw, "status", "dispute"),
        reason=str(raw.get("reason") or ""),
        amount=_amount(raw.get("amount")),
        currency=str(raw.get("currency") or ""),
        created_at=_instant(raw.get("created")) or 0,
        # 0 where the bank takes no answer.
        due_at=(_instant(details.get("due_by")) or None) if isinstance(details, Mapping) else None,
    )


def refund(raw: Raw, customer_id: str, paid: Raw | None) -> Refund:
    """A `charge` object of which something was given back; `paid` is the invoice that it paid, None if it paid none.

    Raises `UpstreamFailed` if it has no id.
    """
    end_at = _last_end(_list(paid.get("lines"))) if paid else None
    return Refund(
        charge_id=_text(raw, "id", "charge"),
        customer_id=customer_id,
        amount=_amount(raw.get("amount_refunded")),
        currency=str(raw.get("currency") or ""),
        in_full=raw.get("refunded") is True,
        subscription_id=_subscription_of_invoice(paid) if paid else None,
        until_at=end_at if end_at is not None else (_instant(raw.get("created")) or 0) + _MONTH_SECONDS,
    )


def fraud_warning(raw: Raw, customer_id: str) -> FraudWarning:
    """A `radar.early_fraud_warning` object. Raises `UpstreamFailed` if it has no id."""
    return FraudWarning(
        warning_id=_text(raw, "id", "fraud warning"),
        customer_id=customer_id,
        charge_id=_id(raw.get("charge")) or "",
        fraud_type=str(raw.get("fraud_type") or ""),
        actionable=raw.get("actionable") is True,
    )


def _charged(line: Raw) -> tuple[str, str | None] | None:
    """The price and the product that an invoice line charges for; None for what has no price."""
    pricing = line.get("pricing")
    details = pricing.get("price_details") if isinstance(pricing, Mapping) else None
    if isinstance(details, Mapping):
        price_id, product_id = _id(details.get("price")), _id(details.get("product"))
    else:
        price = line.get("price")
        price_id, product_id = _id(price), _id(price.get("product")) if isinstance(price, Mapping) else None
    return (price_id, product_id) if price_id else None


def _last_end(lines: Sequence[Any]) -> int | None:
    """The latest end of these invoice lines' periods."""
    periods = [line.get("period") for line in lines if isinstance(line, Mapping)]
    ends = [_instant(period.get("end")) for period in periods if isinstance(period, Mapping)]
    return max((end for end in ends if end is not None), default=None)


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
        lookup_key=price.get("lookup_key") if isinstance(price.get("lookup_key"), str) else None,
        product_id=_id(price.get("product")),
        interval=recurring.get("interval") if isinstance(recurring, Mapping) else None,
        quantity=quantity if isinstance(quantity, int) else None,
        period_end_at=_instant(raw.get("current_period_end")) or _instant(of.get("current_period_end")),
    )


def _subscription_of_invoice(raw: Raw) -> str | None:
    parent = raw.get("parent")
    if isinstance(parent, Mapping):
        details = parent.get("subscription_details")
        if isinstance(details, Mapping):
            return _id(details.get("subscription"))
    return _id(raw.get("subscription"))


def _id(value: Any) -> str | None:
    """The id of a reference, whether expanded or not."""
    if isinstance(value, Mapping):
        value = value.get("id")
    return value if isinstance(value, str) and value else None


def _list(value: Any) -> list[Any]:
    """A list's objects. Raises `UpstreamFailed` for a partial one: what a tier hangs on may be in the rest."""
    if not isinstance(value, Mapping):
        return []
    if value.get("has_more"):
        raise UpstreamFailed("Stripe answered a part of a list.", detail=str(value.get("url"))[:200])
    data = value.get("data")
    return data if isinstance(data, list) else []


def _instant(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _amount(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _text(raw: Raw, key: str, what: str) -> str:
    value = raw.get(key)
    if not isinstance(value, str) or not value:
        raise UpstreamFailed(f"Stripe answered a {what} without {key}.")
    return value
