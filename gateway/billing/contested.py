"""Disputes, refunds and fraud warnings of one user: remembered from events, read from Stripe, never from a payload."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection

from gateway.billing.alerting import open_alert, resolve_all
from gateway.billing.context import Billing
from gateway.billing.event_subjects import CHARGE, DISPUTE, FRAUD_WARNING, Subject
from gateway.log import fields
from gateway.store import disputes
from gateway.store.disputes import Remembered
from gateway.stripe.client import StripeError, StripeObject
from gateway.tiers import shapes
from gateway.tiers.contested import is_over
from gateway.tiers.model import Contested, Dispute, FraudWarning, Refund

log = logging.getLogger(__name__)

UNREADABLE = "event_unreadable"
_VALUES: Mapping[str, Callable[..., Contested]] = {DISPUTE: Dispute, CHARGE: Refund, FRAUD_WARNING: FraudWarning}


@dataclass(frozen=True, slots=True)
class Answer:
    """What Stripe says now of something remembered; `contested` None: it has no such object any more."""

    remembered: Remembered
    contested: Contested | None


def is_contested(event_type: str, subject: Subject) -> bool:
    """Whether this event is about a charge that is contested, so that it must be remembered."""
    if subject.kind == CHARGE:
        return event_type.removeprefix("v1.") == "charge.refunded"
    return subject.kind in _VALUES


async def ask(billing: Billing, app_id: str, user_id: str) -> tuple[Answer, ...]:
    """Stripe's word on everything of this user that is not over. Raises `UpstreamFailed`.

    What our key may not read is alerted and left out: it must not keep the rest of the user's news away.
    """
    remembered = await billing.store.read(lambda conn: disputes.of_user(conn, app_id, user_id))
    answers: list[Answer] = []
    for each in remembered:
        if not each.open:
            continue
        try:
            answers.append(Answer(each, await _read(billing, each)))
        except StripeError as exc:
            if exc.status not in (401, 403):
                raise
            log.warning("contested_unreadable", extra=fields(object_id=each.object_id, detail=exc.detail))
            message = f"{each.object_id} cannot be read, so its effect is not known: {exc.detail}"
            await open_alert(billing, "event_unreadable", each.kind, message)
    return tuple(answers)


async def _read(billing: Billing, remembered: Remembered) -> Contested | None:
    subject, customer_id = Subject(remembered.kind, remembered.object_id), remembered.customer_id
    try:
        raw = await billing.stripe.get(subject.path)
    except StripeError as exc:
        if exc.stripe_code != "resource_missing":
            raise
        return None
    if remembered.kind == DISPUTE:
        return shapes.dispute(raw, customer_id)
    if remembered.kind == FRAUD_WARNING:
        return shapes.fraud_warning(raw, customer_id)
    return shapes.refund(raw, customer_id, await _paid_with(billing, raw) if raw.get("refunded") is True else None)


async def _paid_with(billing: Billing, charge: StripeObject) -> StripeObject | None:
    """The invoice that a charge paid. Since basil neither names the other: the invoice's payments name both."""
    intent = charge.get("payment_intent")
    if not isinstance(intent, str):
        return None
    query = {"payment": {"type": "payment_intent", "payment_intent": intent}, "expand": ["data.invoice"]}
    async for payment in billing.stripe.each("/v1/invoice_payments", query):
        invoice = payment.get("invoice")
        if isinstance(invoice, dict):
            return invoice
    return None


def note_all(conn: Connection, answers: Sequence[Answer], now: int) -> list[tuple[str, str]]:
    """Keep what Stripe said. Returns the alerts that are over because it could be read."""
    for each in answers:
        if each.contested is None:
            disputes.note(conn, each.remembered, each.remembered.found, still_open=False)
        else:
            disputes.note(conn, each.remembered, asdict(each.contested), still_open=not is_over(each.contested, now))
    return resolve_all(conn, sorted({(UNREADABLE, each.remembered.kind) for each in answers}), now)


def known(conn: Connection, app_id: str, user_id: str) -> tuple[Contested, ...]:
    """What Stripe said last of everything contested of this user, lost disputes included."""
    return tuple(_value(each.kind, each.found) for each in disputes.of_user(conn, app_id, user_id) if each.found)


def _value(kind: str, found: Mapping[str, Any]) -> Contested:
    return _VALUES[kind](**found)
