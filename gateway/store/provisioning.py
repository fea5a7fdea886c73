"""What the world must still be told: the latest job per (kind, app, user), kept until it is done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, select, text, update

from gateway.store.schema import outbox

WAITING, DONE, DEAD = "waiting", "done", "dead"


@dataclass(frozen=True, slots=True)
class ProvisioningJob:
    """`state` is "waiting", "done" or "dead" (a person must look). `answer` is of the last time it was done."""

    job_id: int
    kind: str
    app_id: str
    user_id: str
    payload: dict[str, Any]
    version: int
    attempts: int
    state: str
    due_at: int
    error: str
    answer: dict[str, Any] | None
    updated_at: int


_ALL = select(
    outbox.c.wish_id.label("job_id"),
    outbox.c.kind,
    outbox.c.app_id,
    outbox.c.user_id,
    outbox.c.payload,
    outbox.c.version,
    outbox.c.attempts,
    outbox.c.state,
    outbox.c.due_at,
    outbox.c.error,
    outbox.c.answer,
    outbox.c.updated_at,
)

_PUT = text(
    "INSERT INTO outbox (kind, app_id, user_id, payload, version, state, attempts, due_at, error, updated_at)"
    " VALUES (:kind, :app_id, :user_id, :payload, 1, 'waiting', 0, :due_at, '', :now)"
    " ON CONFLICT (app_id, user_id, kind) DO UPDATE"
    " SET payload = excluded.payload, version = outbox.version + 1, state = excluded.state, attempts = 0,"
    " due_at = excluded.due_at, error = '', updated_at = excluded.updated_at"
    " RETURNING wish_id"
)


def put(
    conn: Connection,
    kind: str,
    app_id: str,
    user_id: str,
    payload: Mapping[str, Any],
    now: int,
    *,
    before_others: bool = False,
) -> int:
    """Wish for something, due now, in place of an older job of this kind for this user. Returns its job_id.

    `before_others`: ahead of all that is due, since somebody waits for it.
    """
    job = {
        "kind": kind, "app_id": app_id, "user_id": user_id, "payload": json.dumps(payload), "now": now,
        "due_at": 0 if before_others else now,
    }  # fmt: skip
    return int(conn.execute(_PUT, job).scalar_one())


def due(conn: Connection, now: int, limit: int) -> list[ProvisioningJob]:
    """Wishes to try now, the longest due first."""
    rows = conn.execute(
        _ALL.where(outbox.c.state == WAITING, outbox.c.due_at <= now)
        .order_by(outbox.c.due_at, outbox.c.wish_id)
        .limit(limit)
    )
    return [_job(row) for row in rows]


def done(conn: Connection, job_id: int, version: int, answer: Mapping[str, Any], now: int) -> None:
    """It was done and this was the answer. Does nothing if a newer job has replaced it."""
    _set(conn, job_id, version, state=DONE, answer=json.dumps(answer), error="", updated_at=now)


def retry(conn: Connection, job_id: int, version: int, at: int, error: str) -> None:
    """Try again at `at`, with one more attempt counted. Does nothing if a newer job has replaced it."""
    _set(conn, job_id, version, attempts=outbox.c.attempts + 1, due_at=at, error=error)


def dead(conn: Connection, job_id: int, version: int, error: str, now: int) -> None:
    """Give up until a person revives it. Does nothing if a newer job has replaced it."""
    _set(conn, job_id, version, state=DEAD, attempts=outbox.c.attempts + 1, error=error, updated_at=now)


def revive(conn: Connection, job_id: int | None, now: int) -> int:
    """Make a dead job wait again, due now, attempts from zero; None revives all. Returns how many."""
    statement = update(outbox).where(outbox.c.state == DEAD)
    if job_id is not None:
        statement = statement.where(outbox.c.wish_id == job_id)
    return conn.execute(statement.values(state=WAITING, attempts=0, due_at=now, updated_at=now)).rowcount


def of_user(conn: Connection, app_id: str, user_id: str) -> list[ProvisioningJob]:
    """This user's wishes in whatever state, one of a kind."""
    rows = conn.execute(
        _ALL.where(outbox.c.app_id == app_id, outbox.c.user_id == user_id).order_by(outbox.c.kind)
    )  # fmt: skip
    return [_job(row) for row in rows]


def counts(conn: Connection) -> dict[str, int]:
    """How many wishes are "waiting", "done" and "dead"; every state is there."""
    rows = conn.execute(select(outbox.c.state, func.count()).group_by(outbox.c.state))
    return {WAITING: 0, DONE: 0, DEAD: 0} | dict(rows.tuples().all())


def _set(conn: Connection, job_id: int, version: int, **values: Any) -> None:
    conn.execute(update(outbox).where(outbox.c.wish_id == job_id, outbox.c.version == version).values(**values))


def _job(row: Row[Any]) -> ProvisioningJob:
    values = row._asdict()
    answer = values.pop("answer")
    payload = json.loads(values.pop("payload"))
    return ProvisioningJob(**values, payload=payload, answer=None if answer is None else json.loads(answer))
