"""Disputes, refunds and early fraud warnings. All three are about a charge."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.stripe.errors import StripeNotFound
from gateway.stripe.event_content import DISPUTE, FRAUD_WARNING, EventObject
from gateway.stripe.fields import Raw, amount, instant, list_items, reference_id, required_text
from gateway.stripe.invoices import invoice_paid_by, last_period_end, subscription_of
from gateway.stripe.transport import Transport
from gateway.tiers.model import Dispute, DisputeOrRefund, FraudWarning, Refund

_MONTH_SECONDS = 31 * 86_400


class Disputes:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def get(self, kind: str, object_id: str, customer_id: str) -> DisputeOrRefund | None:
        """A dispute, the refund of a charge, or a fraud warning: `kind` is Stripe's name of the object.

        None if Stripe has no such object. `customer_id` is the charge's customer, which a dispute does not name.
        """
        try:
            raw = await self._transport.get(EventObject(kind, object_id).path)
        except StripeNotFound:
            return None
        if kind == DISPUTE:
            return read_dispute(raw, customer_id)
        if kind == FRAUD_WARNING:
            return read_fraud_warning(raw, customer_id)
        paid = await invoice_paid_by(self._transport, raw) if raw.get("refunded") is True else None
        return read_refund(raw, customer_id, paid)


def read_dispute(raw: Raw, customer_id: str) -> Dispute:
    """A `dispute` object. Raises `UpstreamFailed` if it has no id or no status."""
    details = raw.get("evidence_details")
    return Dispute(
        dispute_id=required_text(raw, "id", "dispute"),
        customer_id=customer_id,
        charge_id=reference_id(raw.get("charge")) or "",
        status=required_text(raw, "status", "dispute"),
        reason=str(raw.get("reason") or ""),
        amount=amount(raw.get("amount")),
        currency=str(raw.get("currency") or ""),
        created_at=instant(raw.get("created")) or 0,
        # 0 where the bank accepts no evidence.
        due_at=(instant(details.get("due_by")) or None) if isinstance(details, Mapping) else None,
    )


def read_refund(raw: Raw, customer_id: str, paid: Raw | None) -> Refund:
    """A `charge` object that was refunded at least in part; `paid` is the invoice that it paid, None if it paid none.

    Raises `UpstreamFailed` if it has no id.
    """
    end_at = last_period_end(list_items(paid.get("lines"))) if paid else None
    return Refund(
        charge_id=required_text(raw, "id", "charge"),
        customer_id=customer_id,
        amount=amount(raw.get("amount_refunded")),
        currency=str(raw.get("currency") or ""),
        in_full=raw.get("refunded") is True,
        subscription_id=subscription_of(paid) if paid else None,
        until_at=end_at if end_at is not None else (instant(raw.get("created")) or 0) + _MONTH_SECONDS,
    )


def read_fraud_warning(raw: Raw, customer_id: str) -> FraudWarning:
    """A `radar.early_fraud_warning` object. Raises `UpstreamFailed` if it has no id."""
    return FraudWarning(
        warning_id=required_text(raw, "id", "fraud warning"),
        customer_id=customer_id,
        charge_id=reference_id(raw.get("charge")) or "",
        fraud_type=str(raw.get("fraud_type") or ""),
        actionable=raw.get("actionable") is True,
    )
