"""Invoices, in the shape of any API version.

Since 2025-03-31.basil an invoice names its subscription under `parent`; before, it stood at the top.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.stripe.fields import (
    Raw,
    StripeObject,
    amount,
    instant,
    list_items,
    optional_text,
    reference_id,
    required_text,
)
from gateway.stripe.transport import Transport
from gateway.tiers.model import Invoice


class Invoices:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def of_subscription(self, subscription_id: str) -> list[Invoice]:
        """Newest first."""
        query = {"subscription": subscription_id}
        return [read_invoice(raw) async for raw in self._transport.list_all("/v1/invoices", query)]


def read_invoice(raw: Raw) -> Invoice:
    """An `invoice` object. Raises `UpstreamFailed` if it has no id or no status."""
    transitions = raw.get("status_transitions")
    finalized_at = instant(transitions.get("finalized_at")) if isinstance(transitions, Mapping) else None
    attempts = raw.get("attempt_count")
    attempt_count = attempts if isinstance(attempts, int) else 0
    created_at = instant(raw.get("created")) or 0
    charging = [
        line for line in list_items(raw.get("lines")) if isinstance(line, Mapping) and amount(line.get("amount")) > 0
    ]
    return Invoice(
        invoice_id=required_text(raw, "id", "invoice"),
        subscription_id=subscription_of(raw),
        status=required_text(raw, "status", "invoice"),
        amount_due=amount(raw.get("amount_due")),
        amount_paid=amount(raw.get("amount_paid")),
        attempt_count=attempt_count,
        created_at=created_at,
        # The first attempt comes with finalization; Stripe names no instant of its own for it.
        first_attempt_at=(finalized_at or created_at) if attempt_count else None,
        hosted_invoice_url=optional_text(raw.get("hosted_invoice_url")),
        charged=tuple(charged for line in charging if (charged := _charged(line))),
        currency=str(raw.get("currency") or ""),
        total=amount(raw.get("total")),
        due_at=instant(raw.get("due_date")),
        finalized_at=finalized_at,
        period_end_at=last_period_end(charging),
    )


def subscription_of(invoice: Raw) -> str | None:
    """The id of the subscription that an invoice is for."""
    parent = invoice.get("parent")
    if isinstance(parent, Mapping):
        details = parent.get("subscription_details")
        if isinstance(details, Mapping):
            return reference_id(details.get("subscription"))
    return reference_id(invoice.get("subscription"))


def last_period_end(lines: Sequence[Any]) -> int | None:
    """The latest end of these invoice lines' periods."""
    periods = [line.get("period") for line in lines if isinstance(line, Mapping)]
    ends = [instant(period.get("end")) for period in periods if isinstance(period, Mapping)]
    return max((end for end in ends if end is not None), default=None)


async def invoice_paid_by(transport: Transport, charge: Raw) -> StripeObject | None:
    """The invoice that a charge paid. Since basil neither names the other: the invoice's payments name both."""
    intent = charge.get("payment_intent")
    if not isinstance(intent, str):
        return None
    query = {"payment": {"type": "payment_intent", "payment_intent": intent}, "expand": ["data.invoice"]}
    async for payment in transport.list_all("/v1/invoice_payments", query):
        invoice = payment.get("invoice")
        if isinstance(invoice, dict):
            return invoice
    return None


def _charged(line: Raw) -> tuple[str, str | None] | None:
    """The price and the product that an invoice line charges for; None for what has no price."""
    pricing = line.get("pricing")
    details = pricing.get("price_details") if isinstance(pricing, Mapping) else None
    if isinstance(details, Mapping):
        price_id, product_id = reference_id(details.get("price")), reference_id(details.get("product"))
    else:
        price = line.get("price")
        price_id = reference_id(price)
        product_id = reference_id(price.get("product")) if isinstance(price, Mapping) else None
    return (price_id, product_id) if price_id else None
