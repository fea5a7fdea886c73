"""One account's state in memory: its objects, its clock, its cards, and the events of changes.

Objects are the dicts that Stripe answers, with two differences: keys that start with `_` are internal and never
rendered, and a subscription item has the id of its price (`snapshots` replaces it by the price).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from gateway.sandbox.stripe.ids import new_id
from gateway.sandbox.stripe.refusal import missing
from gateway.sandbox.stripe.snapshots import changed_from, rendered

Json = dict[str, Any]
API_VERSION = "2026-10-28.endive"
VERSION = re.compile(r"20\d\d-\d\d-\d\d(\.[a-z_]+)?")
DAY = 86_400
Card = Literal["ok", "fail", "action"]
CARDS: tuple[Card, ...] = ("ok", "fail", "action")
KINDS = {
    "customer": "customer",
    "product": "product",
    "price": "price",
    "checkout.session": "checkout.session",
    "subscription": "subscription",
    "subscription_schedule": "subscription schedule",
    "invoice": "invoice",
    "invoice_payment": "invoice payment",
    "charge": "charge",
    "refund": "refund",
    "dispute": "dispute",
    "radar.early_fraud_warning": "early fraud warning",
    "billing_portal.configuration": "configuration",
    "billing_portal.session": "session",
    "v2.core.event_destination": "event destination",
    "webhook_endpoint": "webhook endpoint",
    "event": "event",
}


@dataclass
class Settings:
    """What an operator of a real account sets in the Dashboard, plus how patient the clockwork is.

    `nested_list_length`: how many objects a list inside an object shows at most; Stripe shows ten.
    """

    default_portal_configuration: bool = True
    portal_payment_behavior: str = "error_if_incomplete"
    draft_seconds: int = 3600
    dunning_days: tuple[int, ...] = (3, 5, 7)
    after_dunning: Literal["cancel", "unpaid", "past_due", "pause"] = "cancel"
    session_seconds: int = DAY
    incomplete_seconds: int = 23 * 3600
    portal_session_seconds: int = 3600
    deleted_customers_subscriptions: Literal["canceled", "empty", "missing"] = "canceled"
    nested_list_length: int | None = 10


@dataclass
class AccountState:
    """All state, without HTTP.

    `cards`: how each customer's card behaves; `action` fails until the customer confirms it (3D Secure).
    `next_change_at`: the next instant at which time alone changes something, 0 if unknown.
    """

    wall: Callable[[], float]
    account_id: str
    settings: Settings
    event_version: str = API_VERSION
    public_url: str = ""
    objects: dict[str, dict[str, Json]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    cards: dict[str, Card] = field(default_factory=dict)
    offset_seconds: float = 0.0
    transition_at: int | None = None
    next_change_at: float = 0
    request: Json = field(default_factory=lambda: {"id": None, "idempotency_key": None})
    on_event: Callable[[Json], None] = lambda event: None

    def time(self) -> int:
        """Epoch seconds on this account's clock; during `settle`, the instant of what is happening."""
        return self.transition_at if self.transition_at is not None else int(self.wall() + self.offset_seconds)

    def all(self, kind: str) -> list[Json]:
        """Every object of a kind, oldest first."""
        return list(self.objects[kind].values())

    def add(self, obj: Json) -> Json:
        """Keep a new object."""
        self.objects[obj["object"]][obj["id"]] = obj
        self.next_change_at = 0
        return obj

    def find(self, kind: str, object_id: str, *, param: str | None = None) -> Json:
        """The object, or ApiError: 404 for a path, 400 when `param` names where the id stood."""
        obj = self.objects[kind].get(object_id)
        if obj is None:
            raise missing(KINDS[kind], object_id, param=param)
        return obj

    def active_customer(self, customer_id: str, *, param: str | None = "customer") -> Json:
        """A customer that was not deleted; a deleted one is as good as unknown to every call but its own GET."""
        customer = self.find("customer", customer_id, param=param)
        if customer.get("deleted"):
            raise missing("customer", customer_id, param=param)
        return customer

    def emit(self, event_type: str, obj: Json, previous: Json | None = None) -> Json:
        """Record an event with a snapshot of the object as it is now, and pass it to `on_event`."""
        data: Json = {"object": rendered(self, obj)}
        if previous is not None:
            data["previous_attributes"] = previous
        event: Json = {
            "id": new_id("evt"),
            "object": "event",
            "api_version": self.event_version,
            "created": self.time(),
            "data": data,
            "livemode": False,
            "pending_webhooks": 0,
            "request": dict(self.request),
            "type": event_type,
        }
        self.add(event)
        self.on_event(event)
        return event

    @contextmanager
    def emit_if_changed(self, obj: Json, event_type: str) -> Iterator[Json]:
        """Emit `event_type` with previous_attributes if the block changed what the API shows of the object."""
        before = rendered(self, obj)
        yield obj
        previous = changed_from(before, rendered(self, obj))
        if previous:
            self.emit(event_type, obj, previous)
