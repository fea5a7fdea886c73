"""The content of a webhook event: its own fields, and the object that it is about. Pure.

The object is named by kind and id. A URL that stands in the event is never used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.errors import InvalidInput
from gateway.stripe.forms import Params
from gateway.urls import api_path

MAX_WORD = 255
DISPUTE, CHARGE, FRAUD_WARNING = "dispute", "charge", "radar.early_fraud_warning"
# Stripe's name of an object → its folder in the API. Events about other objects are stored and ignored.
_FOLDERS = {
    "subscription": "subscriptions",
    "subscription_schedule": "subscription_schedules",
    "invoice": "invoices",
    "checkout.session": "checkout/sessions",
    "payment_intent": "payment_intents",
    CHARGE: "charges",
    "refund": "refunds",
    DISPUTE: "disputes",
    FRAUD_WARNING: "radar/early_fraud_warnings",
}
# These name no customer, only a charge, which does.
_OF_A_CHARGE = (DISPUTE, FRAUD_WARNING, "refund")
# The only objects that are fetched for a snapshot event without a customer.
_FETCHED_FOR_SNAPSHOTS = (DISPUTE, FRAUD_WARNING)
_OBJECT_ID = re.compile(r"[A-Za-z0-9_]{1,255}")


@dataclass(frozen=True, slots=True)
class EventObject:
    """An object of the API. `kind` is Stripe's name of it."""

    kind: str
    object_id: str

    @property
    def path(self) -> str:
        return api_path(f"v1/{_FOLDERS[self.kind]}", self.object_id)

    @property
    def params(self) -> Params:
        """With the charge expanded, where only the charge names the customer."""
        return {"expand": ["charge"]} if self.kind in _OF_A_CHARGE else {}


@dataclass(frozen=True, slots=True)
class EventHeader:
    """The fields of an event itself. `customer_id` None: it names none; `account` '': our own."""

    event_id: str
    event_type: str
    account: str
    api_version: str
    livemode: bool
    customer_id: str | None


@dataclass(frozen=True, slots=True)
class EventContent:
    """What an event is about. `subject` None: no object that could be fetched.

    `snapshot_event_id` is of a thin event: the snapshot event about the same change.
    """

    subject: EventObject | None
    is_thin: bool
    snapshot_event_id: str | None

    @property
    def to_fetch(self) -> EventObject | None:
        """What to fetch to learn the customer of an event that names none; None if such an event is ignored."""
        worth = self.is_thin or (self.subject is not None and self.subject.kind in _FETCHED_FOR_SNAPSHOTS)
        return self.subject if worth else None


def parse_event(body: bytes) -> EventHeader:
    """The fields of a snapshot (`event`) or thin (`v2.core.event`) event. Raises `InvalidInput`."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise InvalidInput("The event is not JSON.", code="invalid_event") from exc
    if not isinstance(document, dict) or document.get("object") not in ("event", "v2.core.event"):
        raise InvalidInput("The body is not a Stripe event.", code="invalid_event")
    event_id, event_type = _word(document.get("id")), _word(document.get("type"))
    if event_id is None or event_type is None:
        raise InvalidInput("The event has no id or no type.", code="invalid_event")
    return EventHeader(
        event_id=event_id,
        event_type=event_type,
        account=_word(document.get("account")) or "",
        api_version=_word(document.get("api_version")) or "",
        livemode=document.get("livemode") is True,
        customer_id=_customer_named_by(document),
    )


def event_content(body: bytes) -> EventContent:
    """Of a body that `parse_event` accepted, or of the empty one that is left of an old event."""
    document = json.loads(body) if body else {}
    related = document.get("related_object")
    is_thin = isinstance(related, Mapping)
    if isinstance(related, Mapping):
        kind, object_id = related.get("type"), related.get("id")
    else:
        embedded = embedded_object(document)
        kind, object_id = embedded.get("object"), embedded.get("id")
    known = isinstance(kind, str) and kind in _FOLDERS
    found = _object_id(object_id)
    subject = EventObject(str(kind), found) if known and found is not None else None
    return EventContent(subject, is_thin, _word(document.get("snapshot_event")) if is_thin else None)


def customer_of(answer: Mapping[str, Any]) -> str | None:
    """The customer that an object is, belongs to, or names by its charge; None if there is none."""
    if answer.get("object") == "customer":
        return _object_id(answer.get("id"))
    found, charge = answer.get("customer"), answer.get("charge")
    if found is None and isinstance(charge, Mapping):
        found = charge.get("customer")
    return _object_id(found.get("id") if isinstance(found, Mapping) else found)


def embedded_object(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object inside a snapshot event, as it was then; empty where there is none."""
    data = document.get("data")
    embedded = data.get("object") if isinstance(data, Mapping) else None
    return embedded if isinstance(embedded, Mapping) else {}


def _customer_named_by(document: Mapping[str, Any]) -> str | None:
    related = document.get("related_object")
    if isinstance(related, Mapping) and related.get("type") == "customer":
        return _object_id(related.get("id"))
    return customer_of(embedded_object(document))


def _word(value: Any) -> str | None:
    """Short and printable text, else None: databases do not store every text."""
    return value if isinstance(value, str) and 0 < len(value) <= MAX_WORD and value.isprintable() else None


def _object_id(value: Any) -> str | None:
    """An id of Stripe's form, else None: anything else is neither stored nor fetched."""
    return value if isinstance(value, str) and _OBJECT_ID.fullmatch(value) else None
