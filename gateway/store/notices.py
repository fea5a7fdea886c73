"""Notices to the apps: one row per change of tier, with the exact body that is sent.

Of a user's waiting notices only the earliest has a `due_at`. The next one gets it when that one is done or dead.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, insert, literal_column, select, update

from gateway.errors import NotFound
from gateway.store.entitlements import Change
from gateway.store.rows import columns_of, record_of
from gateway.store.schema import NOTICE_IS_DEAD, NOTICE_WAITS, notices, tier_changes

WAITING, DONE, DEAD = "waiting", "done", "dead"
STATES = (WAITING, DONE, DEAD)


@dataclass(frozen=True, slots=True)
class Notice:
    """`change_id` is the `webhook-id` of every attempt, `body` the same in each. `number` orders the changes.

    `state` is "waiting", "done" or "dead" (an operator must act). `due_at` None: it does not wait, or an earlier notice
    of the user does. `first_failed_at`, `attempts`, `last_status` and `error` are of the attempts since it was put or
    replayed. `last_status` None: no answer.
    """

    change_id: str
    number: int
    app_id: str
    user_id: str
    body: str
    state: str
    attempts: int
    due_at: int | None
    first_failed_at: int | None
    last_status: int | None
    error: str
    created_at: int
    done_at: int | None


_COLUMNS = columns_of(notices, Notice)


def put(conn: Connection, change: Change, body: str, now: int) -> None:
    """Add the notice of a change that was recorded on this connection; due now, or after the user's earlier ones."""
    number = select(tier_changes.c.change_number).where(tier_changes.c.change_id == change.change_id)
    earlier = select(1).where(NOTICE_WAITS, *_of_user(change.app_id, change.user_id)).limit(1)
    conn.execute(
        insert(notices).values(
            change_id=change.change_id,
            number=number.scalar_subquery(),
            app_id=change.app_id,
            user_id=change.user_id,
            body=body,
            state=WAITING,
            attempts=0,
            due_at=now if conn.execute(earlier).scalar() is None else None,
            error="",
            created_at=now,
        )
    )


def due(
    conn: Connection, now: int, limit: int, *, busy_apps: Collection[str] = (), under_way: Collection[str] = ()
) -> list[Notice]:
    """Waiting notices that are due, the longest due first, except of `busy_apps` and with a change id `under_way`."""
    rows = conn.execute(
        select(*_COLUMNS)
        .where(
            NOTICE_WAITS,
            notices.c.due_at <= now,
            notices.c.app_id.not_in(busy_apps),
            notices.c.change_id.not_in(under_way),
        )
        .order_by(notices.c.due_at, notices.c.number)
        .limit(limit)
    )
    return [record_of(Notice, row) for row in rows]


def done(conn: Connection, notice: Notice, status: int, now: int) -> None:
    """Record that the app has accepted it; the user's next one is due."""
    _end(conn, notice, now, state=DONE, last_status=status, error="", done_at=now)


def retry(conn: Connection, notice: Notice, at: int, status: int | None, error: str, now: int) -> None:
    """Count a failed attempt and retry at `at`."""
    conn.execute(
        update(notices)
        .where(notices.c.change_id == notice.change_id, NOTICE_WAITS)
        .values(
            attempts=notices.c.attempts + 1,
            due_at=at,
            first_failed_at=func.coalesce(notices.c.first_failed_at, now),
            last_status=status,
            error=error,
        )
    )


def dead(conn: Connection, notice: Notice, status: int | None, error: str, now: int) -> None:
    """Give up until `replay`; the user's next one is due."""
    _end(conn, notice, now, state=DEAD, last_status=status, error=error)


def replay(conn: Connection, change_id: str, now: int) -> Notice:
    """Send it again in whatever state, with the same id and before the user's later waiting ones.

    Returns the notice as it was before. Raises `NotFound`.
    """
    row = conn.execute(select(*_COLUMNS).where(notices.c.change_id == change_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no notice {change_id[:80]!r}.", code="unknown_notice")
    _reopen(conn, now, notices.c.change_id == change_id)
    of_user = _of_user(row.app_id, row.user_id)
    _hold_back(conn, *of_user)
    _release(conn, now, *of_user)
    return record_of(Notice, row)


def replay_dead(conn: Connection, app_id: str | None, now: int) -> int:
    """Send all dead notices of this app, or of all apps, again; returns how many."""
    of_app = () if app_id is None else (notices.c.app_id == app_id,)
    replayed = _reopen(conn, now, NOTICE_IS_DEAD, *of_app)
    _hold_back(conn, *of_app)
    _release(conn, now, *of_app)
    return replayed


def of_user(conn: Connection, app_id: str, user_id: str, limit: int) -> list[Notice]:
    """This user's notices in whatever state, newest first."""
    rows = conn.execute(
        select(*_COLUMNS).where(*_of_user(app_id, user_id)).order_by(notices.c.number.desc()).limit(limit)
    )
    return [record_of(Notice, row) for row in rows]


def recent(conn: Connection, limit: int, app_id: str | None = None, state: str | None = None) -> list[Notice]:
    """The newest notices, of one app or in one state if given."""
    statement = select(*_COLUMNS).order_by(notices.c.number.desc()).limit(limit)
    if app_id is not None:
        statement = statement.where(notices.c.app_id == app_id)
    if state is not None:
        statement = statement.where(notices.c.state == state)
    return [record_of(Notice, row) for row in conn.execute(statement)]


def counts(conn: Connection) -> dict[str, int]:
    """The number of notices "waiting" and "dead". Done ones are not counted."""
    waiting = conn.execute(select(func.count()).select_from(notices).where(NOTICE_WAITS)).scalar_one()
    dead_count = conn.execute(select(func.count()).select_from(notices).where(NOTICE_IS_DEAD)).scalar_one()
    return {WAITING: waiting, DEAD: dead_count}


def failing(conn: Connection, app_id: str, attempts: int) -> bool:
    """Whether a waiting notice of this app has failed `attempts` times or more."""
    found = select(1).where(NOTICE_WAITS, notices.c.app_id == app_id, notices.c.attempts >= attempts).limit(1)
    return conn.execute(found).scalar() is not None


def dead_after(conn: Connection, notice: Notice) -> bool:
    """Whether a later notice of the same user is dead."""
    later = select(1).where(
        *_of_user(notice.app_id, notice.user_id), notices.c.state == DEAD, notices.c.number > notice.number
    )
    return conn.execute(later.limit(1)).scalar() is not None


def _end(conn: Connection, notice: Notice, now: int, **values: Any) -> None:
    conn.execute(
        update(notices)
        .where(notices.c.change_id == notice.change_id, NOTICE_WAITS)
        .values(attempts=notices.c.attempts + 1, due_at=None, **values)
    )
    _release(conn, now, *_of_user(notice.app_id, notice.user_id))


def _reopen(conn: Connection, now: int, *which: ColumnElement[bool]) -> int:
    reopened = {"state": WAITING, "attempts": 0, "due_at": now, "first_failed_at": None, "done_at": None}
    return conn.execute(update(notices).where(*which).values(**reopened)).rowcount


def _release(conn: Connection, now: int, *which: ColumnElement[bool]) -> None:
    """Make waiting notices due that have no earlier one waiting."""
    conn.execute(
        update(notices).where(NOTICE_WAITS, notices.c.due_at.is_(None), ~_has_earlier(), *which).values(due_at=now)
    )  # fmt: skip


def _hold_back(conn: Connection, *which: ColumnElement[bool]) -> None:
    """Make waiting notices not due that have an earlier one waiting."""
    conn.execute(
        update(notices).where(NOTICE_WAITS, notices.c.due_at.is_not(None), _has_earlier(), *which).values(due_at=None)
    )


def _has_earlier() -> ColumnElement[bool]:
    earlier = notices.alias("earlier")
    return (
        select(1)
        .where(
            earlier.c.app_id == notices.c.app_id,
            earlier.c.user_id == notices.c.user_id,
            earlier.c.state == literal_column("'waiting'"),
            earlier.c.number < notices.c.number,
        )
        .correlate(notices)
        .exists()
    )


def _of_user(app_id: str, user_id: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return notices.c.app_id == app_id, notices.c.user_id == user_id
