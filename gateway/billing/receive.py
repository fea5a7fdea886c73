"""A webhook from Stripe: signed by Stripe, on disk, 200. What it means is found out later, from Stripe's API."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from gateway.billing.alerting import open_alert
from gateway.billing.context import Billing
from gateway.errors import BadSignature, InvalidInput
from gateway.log import fields
from gateway.store import inbox
from gateway.stripe.signature import verify

log = logging.getLogger(__name__)

MAX_EVENT_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Received:
    """What of an event we keep beside its raw bytes; `customer_id` is None where it names none."""

    event_id: str
    event_type: str
    account: str
    api_version: str
    livemode: bool
    customer_id: str | None


async def receive(billing: Billing, body: bytes, signature: str) -> bool:
    """Record the event; it is on disk when this returns. True if it was new: a repetition changes nothing.

    Raises `BadSignature`, `InvalidInput` for signed bytes that are no event, `StoreUnavailable`.
    """
    try:
        verify(body, signature, billing.webhook_secrets, billing.clock())
    except BadSignature as exc:
        if exc.code == "stale_signature":
            skew = exc.fields["skew_seconds"]
            log.warning("webhook_signature_stale", extra=fields(skew_seconds=skew))
        raise
    event = parse_event(body)

    def record(conn: Connection) -> bool:
        return inbox.add(
            conn,
            event.account,
            event.event_id,
            event.event_type,
            event.api_version,
            event.livemode,
            event.customer_id,
            body,
            billing.now(),
        )

    new = await billing.store.write(record)
    billing.inbox_filled.set()
    log.info("event_received", extra=fields(event_id=event.event_id, type=event.event_type, new=new))
    if event.livemode != billing.stripe.livemode:
        mode = "live" if event.livemode else "test"
        message = f"{event.event_id} is a {mode} event, our key is not; check the endpoint and STRIPE_SECRET_KEY"
        await open_alert(billing, "livemode_mismatch", mode, message)
    return new


def parse_event(body: bytes) -> Received:
    """What a snapshot (`event`) or thin (`v2.core.event`) event says about itself. Raises `InvalidInput`."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise InvalidInput("The event is not JSON.", code="invalid_event") from exc
    if not isinstance(document, dict) or document.get("object") not in ("event", "v2.core.event"):
        raise InvalidInput("The body is not a Stripe event.", code="invalid_event")
    event_id, event_type = document.get("id"), document.get("type")
    if not isinstance(event_id, str) or not isinstance(event_type, str) or not event_id or len(event_id) > 255:
        raise InvalidInput("The event has no id or no type.", code="invalid_event")
    return Received(
        event_id=event_id,
        event_type=event_type[:255],
        account=_text(document.get("account")) or "",
        api_version=_text(document.get("api_version")) or "",
        livemode=document.get("livemode") is True,
        customer_id=_customer_id(document),
    )


def _customer_id(document: Mapping[str, Any]) -> str | None:
    related = document.get("related_object")
    if isinstance(related, Mapping) and related.get("type") == "customer":
        return _text(related.get("id"))
    data = document.get("data")
    subject = data.get("object") if isinstance(data, Mapping) else None
    if not isinstance(subject, Mapping):
        return None
    found = subject.get("id") if subject.get("object") == "customer" else subject.get("customer")
    return _text(found.get("id") if isinstance(found, Mapping) else found)


def _text(value: Any) -> str | None:
    return value[:255] if isinstance(value, str) and value else None
