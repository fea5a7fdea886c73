"""Received events as an operator lists, reads and replays them."""

from __future__ import annotations

import json

from sqlalchemy import Connection

from gateway.billing.work.transaction import Loop, Transaction
from gateway.errors import NotFound
from gateway.store import inbox
from gateway.store.inbox import Event

MAX_LISTED = 200
_NAMES = (
    "event_id", "type", "account", "api_version", "livemode", "received_at", "finished_at", "state", "attempts",
    "error", "app_id", "user_id", "customer_id",
)  # fmt: skip


def shown_event(event: Event) -> dict[str, object]:
    """An event without its body."""
    return {name: getattr(event, name) for name in _NAMES}


def whole_event(conn: Connection, account: str, event_id: str) -> dict[str, object]:
    """Raises `NotFound`."""
    event = inbox.get(conn, account, event_id)
    if event is None:
        raise _unknown(event_id)
    return {**shown_event(event), "body": json.loads(event.body) if event.body else None}


def replay(tx: Transaction, account: str, event_id: str) -> None:
    """Route a handled event as if it had just been received. Raises `NotFound`."""
    if not inbox.reopen(tx.conn, account, event_id, tx.now):
        raise _unknown(event_id)
    tx.wake(Loop.ROUTE_EVENTS)


def _unknown(event_id: str) -> NotFound:
    return NotFound(f"There is no event {event_id[:80]!r} in the inbox.", code="unknown_event")
