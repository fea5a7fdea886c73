"""Disputes, refunds and fraud warnings of one user: ids are stored from events, contents are fetched from Stripe."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection

from gateway.billing.work.alerting import open_alert
from gateway.billing.work.transaction import Transaction
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.log import fields
from gateway.store import disputes
from gateway.store.disputes import StoredDispute
from gateway.stripe.client import Stripe
from gateway.stripe.errors import AuthenticationFailed, PermissionDenied
from gateway.stripe.event_content import CHARGE, DISPUTE, FRAUD_WARNING, EventObject
from gateway.stripe.event_types import is_refund
from gateway.tiers.disputes import is_closed
from gateway.tiers.model import Dispute, DisputeOrRefund, FraudWarning, Refund

log = logging.getLogger(__name__)

UNREADABLE = "event_unreadable"
_VALUES: Mapping[str, Callable[..., DisputeOrRefund]] = {DISPUTE: Dispute, CHARGE: Refund, FRAUD_WARNING: FraudWarning}


@dataclass(frozen=True, slots=True)
class DisputeAnswer:
    """The current state of a stored dispute, refund or fraud warning; `dispute` None: Stripe no longer has it."""

    stored: StoredDispute
    dispute: DisputeOrRefund | None


def is_dispute_event(event_type: str, subject: EventObject) -> bool:
    """Whether the object of this event must be stored: a dispute, refund or fraud warning."""
    if subject.kind == CHARGE:
        return is_refund(event_type)
    return subject.kind in _VALUES


async def fetch_answers(work: UnitOfWork, stripe: Stripe, app_id: str, user_id: str) -> tuple[DisputeAnswer, ...]:
    """The current state of everything of this user that is still open. Raises `UpstreamFailed`.

    What our key may not read is alerted and left out, so that it does not block the refresh.
    """
    stored = await work.read(lambda conn: disputes.of_user(conn, app_id, user_id))
    answers: list[DisputeAnswer] = []
    for each in stored:
        if not each.open:
            continue
        try:
            found = await stripe.disputes.get(each.kind, each.object_id, each.customer_id)
            answers.append(DisputeAnswer(each, found))
        except (AuthenticationFailed, PermissionDenied) as exc:
            log.warning("dispute_unreadable", extra=fields(object_id=each.object_id, detail=exc.detail))
            message = f"{each.object_id} cannot be read, so its effect is not known: {exc.detail}"
            await open_alert(work, "event_unreadable", each.kind, message)
    return tuple(answers)


def record_answers(tx: Transaction, answers: Sequence[DisputeAnswer]) -> None:
    """Store Stripe's answers, and resolve the alerts of what could not be read before."""
    for each in answers:
        if each.dispute is None:
            disputes.record_answer(tx.conn, each.stored, each.stored.found, still_open=False)
        else:
            still_open = not is_closed(each.dispute, tx.now)
            disputes.record_answer(tx.conn, each.stored, asdict(each.dispute), still_open=still_open)
    tx.resolve_alerts(sorted({(UNREADABLE, each.stored.kind) for each in answers}))


def known(conn: Connection, app_id: str, user_id: str) -> tuple[DisputeOrRefund, ...]:
    """The last stored state of every dispute, refund and fraud warning of this user, lost disputes included."""
    return tuple(_value(each.kind, each.found) for each in disputes.of_user(conn, app_id, user_id) if each.found)


def _value(kind: str, found: Mapping[str, Any]) -> DisputeOrRefund:
    return _VALUES[kind](**found)
