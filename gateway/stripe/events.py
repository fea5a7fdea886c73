"""Stripe's list of events, and the objects that events are about."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence

from gateway.stripe.errors import StripeNotFound
from gateway.stripe.event_content import EventObject, customer_of, embedded_object
from gateway.stripe.event_types import PAYMENT_FAILED
from gateway.stripe.transport import Transport

MAX_TYPES = 20
"""Stripe lists events of at most this many types at once."""
_EVENTS = "/v1/events"


class Events:
    """Stripe keeps events for 30 days."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def pages(self, types: Sequence[str], since: int) -> AsyncIterator[list[bytes]]:
        """Events of at most `MAX_TYPES` types, newest first, page by page; each as a webhook would bring it."""
        query = {"created": {"gte": since}, "types": types}
        async for page in self._transport.pages(_EVENTS, query):
            yield [json.dumps(raw, ensure_ascii=False).encode() for raw in page]

    async def has_failed_payment(self, session_id: str, since: int | None) -> bool:
        """Whether an event says that the delayed payment of this checkout session failed."""
        query = {"type": PAYMENT_FAILED, "created": {"gte": since}}
        async for event in self._transport.list_all(_EVENTS, query):
            if embedded_object(event).get("id") == session_id:
                return True
        return False

    async def customer_id_of(self, subject: EventObject) -> str | None:
        """The customer that an event's object belongs to; None if it names none, or Stripe has no such object."""
        try:
            return customer_of(await self._transport.get(subject.path, subject.params))
        except StripeNotFound:
            return None

    async def undelivered(self, since: int, until: int) -> tuple[int, bool]:
        """How many events of that time no endpoint accepted, up to 100, and whether there are more."""
        query = {"delivery_success": False, "created": {"gte": since, "lte": until}, "limit": 100}
        page = await self._transport.get(_EVENTS, query)
        return len(page.get("data") or []), page.get("has_more") is True
