"""Stripe's objects, in the shape of any API version, as our values. Pure.

Since 2025-03-31.basil a subscription's period stands on its items and an invoice names its subscription under
`parent`; before, both stood at the top. Everything else that we read kept its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.errors import UpstreamFailed
from gateway.tiers.model import Dispute, FraudWarning, Invoice, Item, Refund, Subscription

Raw = Mapping[str, Any]
_MONTH_SECONDS = 31 * 86_400


def subscription(raw: Raw) -> Subscription:
    """A `subscription` object. Raises `UpstreamFailed` if it has not even an id, a customer and a status."""
    items = tuple(_item(item, raw) for item in _list(raw.get("items")))
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
    )


def invoice(raw: Raw) -> Invoice:
    """An `invoice` object. Raises `UpstreamFailed` if it has no id or no status."""
    transitions = raw.get("status_transitions")
    finalized_at = _instant(transitions.get("finalized_at")) if isinstance(transitions, Mapping) else None
    attempts = raw.get("attempt_count")
    attempt_count = attempts if isinstance(attempts, int) else 0
    created_at = _instant(raw.get("created")) or 0
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
        price_ids=tuple(price_id for line in _list(raw.get("lines")) if (price_id := _charged_price(line))),
        currency=str(raw.get("currency") or ""),
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
    periods = [line.get("period") for line in _list(paid.get("lines")) if isinstance(line, Mapping)] if paid else []
    ends = [_instant(period.get("end")) for period in periods if isinstance(period, Mapping)]
    return Refund(
        charge_id=_text(raw, "id", "charge"),
        customer_id=customer_id,
        amount=_amount(raw.get("amount_refunded")),
        currency=str(raw.get("currency") or ""),
        in_full=raw.get("refunded") is True,
        subscription_id=_subscription_of_invoice(paid) if paid else None,
        until_at=max(
            (end for end in ends if end is not None), default=(_instant(raw.get("created")) or 0) + _MONTH_SECONDS
        ),
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


def _charged_price(line: Any) -> str | None:
    """The price that an invoice line charges for; None for a credit, and for what has no price."""
    if not isinstance(line, Mapping) or _amount(line.get("amount")) <= 0:
        return None
    pricing = line.get("pricing")
    details = pricing.get("price_details") if isinstance(pricing, Mapping) else None
    return _id(details.get("price")) if isinstance(details, Mapping) else _id(line.get("price"))


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
    data = value.get("data") if isinstance(value, Mapping) else None
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
