"""What an event is about, and where Stripe's API has it: by type and id, never by a URL that stands in the event."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.stripe.forms import Params
from gateway.urls import api_path

MAX_WORD = 255
DISPUTE, CHARGE, FRAUD_WARNING = "dispute", "charge", "radar.early_fraud_warning"
# Stripe's name of an object → its folder in the API. What is not here is stored and ignored.
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
# Of a snapshot event that names no customer only these are business of ours.
_LOOKED_UP = (DISPUTE, FRAUD_WARNING)
_OBJECT_ID = re.compile(r"[A-Za-z0-9_]{1,255}")


@dataclass(frozen=True, slots=True)
class Subject:
    """An object of Stripe's that the API can be asked for. `kind` is Stripe's name of it."""

    kind: str
    object_id: str

    @property
    def path(self) -> str:
        return api_path(f"v1/{_FOLDERS[self.kind]}", self.object_id)

    @property
    def params(self) -> Params:
        """With the charge inside, where only that knows the customer."""
        return {"expand": ["charge"]} if self.kind in _OF_A_CHARGE else {}


@dataclass(frozen=True, slots=True)
class EventContent:
    """What the body of an event says. `subject` None: nothing that the API could be asked for.

    `snapshot_event_id` is of a thin event: the snapshot event that tells of the same.
    """

    subject: Subject | None
    is_thin: bool
    snapshot_event_id: str | None

    @property
    def question(self) -> Subject | None:
        """What to ask for if the event names no customer; None if that is nobody's business."""
        worth = self.is_thin or (self.subject is not None and self.subject.kind in _LOOKED_UP)
        return self.subject if worth else None


def meaning(body: bytes) -> EventContent:
    """Of a body that `parse_event` took, or of the empty one that is left of an old event."""
    document = json.loads(body) if body else {}
    related = document.get("related_object")
    is_thin = isinstance(related, Mapping)
    if isinstance(related, Mapping):
        kind, object_id = related.get("type"), related.get("id")
    else:
        embedded = _object_in(document)
        kind, object_id = embedded.get("object"), embedded.get("id")
    known = isinstance(kind, str) and kind in _FOLDERS
    found = _object_id(object_id)
    subject = Subject(str(kind), found) if known and found is not None else None
    return EventContent(subject, is_thin, word(document.get("snapshot_event")) if is_thin else None)


def customer_id_in(document: Mapping[str, Any]) -> str | None:
    """The customer that an event itself names."""
    related = document.get("related_object")
    if isinstance(related, Mapping) and related.get("type") == "customer":
        return _object_id(related.get("id"))
    return customer_of(_object_in(document))


def customer_of(answer: Mapping[str, Any]) -> str | None:
    """The customer that an object of Stripe's belongs to, or is, or whose charge it is about; None if it names none."""
    if answer.get("object") == "customer":
        return _object_id(answer.get("id"))
    found, charge = answer.get("customer"), answer.get("charge")
    if found is None and isinstance(charge, Mapping):
        found = charge.get("customer")
    return _object_id(found.get("id") if isinstance(found, Mapping) else found)


def word(value: Any) -> str | None:
    """A word of Stripe's: short and printable. Anything else is as good as none: no database takes every text."""
    return value if isinstance(value, str) and 0 < len(value) <= MAX_WORD and value.isprintable() else None


def _object_id(value: Any) -> str | None:
    """An id of Stripe's. Anything else names nothing: it is not stored, and the API is not asked for it."""
    return value if isinstance(value, str) and _OBJECT_ID.fullmatch(value) else None


def _object_in(document: Mapping[str, Any]) -> Mapping[str, Any]:
    data = document.get("data")
    embedded = data.get("object") if isinstance(data, Mapping) else None
    return embedded if isinstance(embedded, Mapping) else {}
