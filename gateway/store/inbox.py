"""Stripe's events as received, each once. They are kept after handling, for `explain` and replay."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, select, text, update

from gateway.store.rows import columns_of, record_of
from gateway.store.schema import EVENT_OF_SOMEBODY, EVENT_WAITS, inbox

WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Event:
    """`state` is "waiting" or the outcome. `account` is '' for our own. `app_id` and `user_id` are '' until known."""

    account: str
    event_id: str
    type: str
    api_version: str | None
    livemode: bool
    customer_id: str | None
    body: bytes
    received_at: int
    state: str
    attempts: int
    due_at: int
    error: str
    app_id: str
    user_id: str
    finished_at: int | None


_ALL = select(*columns_of(inbox, Event))

# Built once, because building the query takes as long as running it.
_WAITING = (
    _ALL.where(EVENT_WAITS, inbox.c.due_at <= bindparam("now"))
    .order_by(inbox.c.due_at, inbox.c.event_id)
    .limit(bindparam("most"))
)

# As text, like all upserts here: SQLAlchemy compiles on_conflict at each call, which takes 270 µs instead of 40.
_ADD = text(
    "INSERT INTO inbox (account, event_id, type, api_version, livemode, customer_id, body,"
    " received_at, state, attempts, due_at, error, app_id, user_id)"
    " VALUES (:account, :event_id, :type, :api_version, :livemode, :customer_id, :body,"
    " :now, 'waiting', 0, :now, '', '', '') ON CONFLICT (account, event_id) DO NOTHING"
)

_FINISH = text(
    "UPDATE inbox SET state = :outcome, finished_at = :now, error = '', app_id = :app_id, user_id = :user_id"
    " WHERE account = :account AND event_id = :event_id"
)


def add(
    conn: Connection,
    account: str,
    event_id: str,
    type_: str,
    api_version: str | None,
    livemode: bool,
    customer_id: str | None,
    body: bytes,
    now: int,
) -> bool:
    """Record an event, due at once. True if it is new; a known event is not changed."""
    added = conn.execute(
        _ADD,
        {
            "account": account,
            "event_id": event_id,
            "type": type_,
            "api_version": api_version,
            "livemode": livemode,
            "customer_id": customer_id,
            "body": body,
            "now": now,
        },
    )
    return added.rowcount == 1


def get(conn: Connection, account: str, event_id: str) -> Event | None:
    row = conn.execute(_ALL.where(inbox.c.account == account, inbox.c.event_id == event_id)).one_or_none()
    return None if row is None else record_of(Event, row)


def waiting(conn: Connection, now: int, limit: int) -> list[Event]:
    """Waiting events that are due, the longest due first."""
    return [record_of(Event, row) for row in conn.execute(_WAITING, {"now": now, "most": limit})]


def finish(
    conn: Connection, account: str, event_id: str, outcome: str, now: int, app_id: str = "", user_id: str = ""
) -> None:
    """Close an event with its outcome ("handled", "ignored", …) and its user, if known."""
    values = {"account": account, "event_id": event_id, "app_id": app_id, "user_id": user_id}
    conn.execute(_FINISH, {**values, "outcome": outcome, "now": now})


def retry(conn: Connection, account: str, event_id: str, at: int, error: str) -> None:
    """Count a failed attempt and retry at `at`."""
    conn.execute(
        update(inbox)
        .where(inbox.c.account == account, inbox.c.event_id == event_id)
        .values(attempts=inbox.c.attempts + 1, due_at=at, error=error)
    )


def reopen(conn: Connection, account: str, event_id: str, now: int) -> bool:
    """For a replay: make it wait, due now, with no attempts counted. False if there is no such event."""
    reopened = conn.execute(
        update(inbox)
        .where(inbox.c.account == account, inbox.c.event_id == event_id)
        .values(state=WAITING, attempts=0, due_at=now, error="", finished_at=None)
    )
    return reopened.rowcount == 1


def recent(conn: Connection, limit: int, app_id: str | None = None, user_id: str | None = None) -> list[Event]:
    """The events received last, newest first; of one app, or of one of its users, if given."""
    query = _ALL
    if app_id is not None:
        query = query.where(EVENT_OF_SOMEBODY, inbox.c.app_id == app_id)
    if user_id is not None:
        query = query.where(EVENT_OF_SOMEBODY, inbox.c.user_id == user_id)
    rows = conn.execute(query.order_by(inbox.c.received_at.desc(), inbox.c.event_id.desc()).limit(limit))
    return [record_of(Event, row) for row in rows]


def count_waiting(conn: Connection) -> int:
    """The number of waiting events, due or not."""
    return conn.execute(select(func.count()).select_from(inbox).where(EVENT_WAITS)).scalar_one()
