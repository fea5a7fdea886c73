"""Provisioning jobs: the limits that LiteLLM must still be given. One row per user; a newer job replaces it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, select, text, update

from gateway.store.schema import provisioning

WAITING, DONE, DEAD = "waiting", "done", "dead"


@dataclass(frozen=True, slots=True)
class ProvisioningJob:
    """`state` is "waiting", "done" or "dead" (an operator must act). `answer` is of the last job that was done.

    `version` counts the jobs of this user, so that the result of a replaced job is not recorded for its successor.
    """

    job_id: int
    app_id: str
    user_id: str
    version: int
    state: str
    attempts: int
    due_at: int
    error: str
    answer: dict[str, Any] | None
    updated_at: int

    @property
    def is_on_its_way(self) -> bool:
        """Whether it waits and has not failed yet."""
        return self.state == WAITING and self.attempts == 0


_PUT = text(
    "INSERT INTO provisioning (app_id, user_id, version, state, attempts, due_at, error, updated_at)"
    " VALUES (:app_id, :user_id, 1, 'waiting', 0, :due_at, '', :now)"
    " ON CONFLICT (app_id, user_id) DO UPDATE"
    " SET version = provisioning.version + 1, state = excluded.state, attempts = 0,"
    " due_at = excluded.due_at, error = '', updated_at = excluded.updated_at"
    " RETURNING job_id"
)


def put(conn: Connection, app_id: str, user_id: str, now: int, *, before_others: bool = False) -> int:
    """Add a job, due now, in place of this user's older one. Returns its job_id.

    `before_others`: ahead of all jobs that are due, because a request waits for it.
    """
    job = {"app_id": app_id, "user_id": user_id, "now": now, "due_at": 0 if before_others else now}
    return int(conn.execute(_PUT, job).scalar_one())


def get(conn: Connection, app_id: str, user_id: str) -> ProvisioningJob | None:
    """This user's job in whatever state."""
    row = conn.execute(
        select(provisioning).where(provisioning.c.app_id == app_id, provisioning.c.user_id == user_id)
    ).one_or_none()
    return None if row is None else _job(row)


def due(conn: Connection, now: int, limit: int) -> list[ProvisioningJob]:
    """Waiting jobs that are due, the longest due first."""
    rows = conn.execute(
        select(provisioning)
        .where(provisioning.c.state == WAITING, provisioning.c.due_at <= now)
        .order_by(provisioning.c.due_at, provisioning.c.job_id)
        .limit(limit)
    )
    return [_job(row) for row in rows]


def done(conn: Connection, job_id: int, version: int, answer: Mapping[str, Any], now: int) -> None:
    """Record success and LiteLLM's answer. Does nothing if a newer job has replaced this one."""
    _set(conn, job_id, version, state=DONE, answer=json.dumps(answer), error="", updated_at=now)


def retry(conn: Connection, job_id: int, version: int, at: int, error: str) -> None:
    """Count a failed attempt and retry at `at`. Does nothing if a newer job has replaced this one."""
    _set(conn, job_id, version, attempts=provisioning.c.attempts + 1, due_at=at, error=error)


def dead(conn: Connection, job_id: int, version: int, error: str, now: int) -> None:
    """Give up until `revive`. Does nothing if a newer job has replaced this one."""
    _set(conn, job_id, version, state=DEAD, attempts=provisioning.c.attempts + 1, error=error, updated_at=now)


def revive(conn: Connection, now: int) -> int:
    """Make every dead job wait again, due now, with no attempts counted. Returns how many."""
    revived = {"state": WAITING, "attempts": 0, "due_at": now, "updated_at": now}
    return conn.execute(update(provisioning).where(provisioning.c.state == DEAD).values(**revived)).rowcount


def counts(conn: Connection) -> dict[str, int]:
    """Jobs by state; every state is in it."""
    rows = conn.execute(
        select(provisioning.c.state, func.count().label("jobs")).group_by(provisioning.c.state)
    )  # fmt: skip
    return {WAITING: 0, DONE: 0, DEAD: 0} | {row.state: row.jobs for row in rows}


def _set(conn: Connection, job_id: int, version: int, **values: Any) -> None:
    of_this_version = (provisioning.c.job_id == job_id, provisioning.c.version == version)
    conn.execute(update(provisioning).where(*of_this_version).values(**values))


def _job(row: Row[Any]) -> ProvisioningJob:
    values = row._asdict()
    answer = values.pop("answer")
    return ProvisioningJob(**values, answer=None if answer is None else json.loads(answer))
