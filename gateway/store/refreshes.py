"""Refreshes that are requested or due, with a lease for the worker: one row per (app, user)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, func, select, text, update

from gateway.store.rows import columns_of, record_of
from gateway.store.schema import REFRESH_WAITS, refreshes


@dataclass(frozen=True, slots=True)
class Lease:
    """The exclusive right to refresh one user. `wanted` is the number of requests when it was taken.

    `number` tells this lease from a later one of the same owner, so that a worker whose lease has expired cannot write.
    """

    app_id: str
    user_id: str
    wanted: int
    attempts: int
    number: int


@dataclass(frozen=True, slots=True)
class RefreshState:
    """The state of a user's refresh, for `explain`. `due_at` None: none is requested or scheduled."""

    wanted: int
    done: int
    due_at: int | None
    timer_at: int | None
    lease_until: int
    attempts: int
    last_error: str


_FREE = text(
    "SELECT app_id, user_id FROM refreshes WHERE due_at <= :now AND lease_until <= :now"
    " ORDER BY due_at, app_id, user_id LIMIT :limit"
)

_TAKE = text(
    "UPDATE refreshes SET lease_owner = :owner, lease_number = lease_number + 1, lease_until = :until"
    " WHERE app_id = :app_id AND user_id = :user_id RETURNING wanted, attempts, lease_number"
)

_WANT = text(
    "INSERT INTO refreshes (app_id, user_id, wanted, done, due_at, lease_owner, lease_number, lease_until, attempts,"
    " last_error) VALUES (:app_id, :user_id, 1, 0, :now, '', 0, 0, 0, '')"
    " ON CONFLICT (app_id, user_id) DO UPDATE"
    " SET wanted = refreshes.wanted + 1, due_at = excluded.due_at, attempts = 0"
)


def want(conn: Connection, app_id: str, user_id: str, now: int) -> None:
    """Request a refresh, due now, without the backoff of earlier failures. One refresh serves all earlier requests."""
    conn.execute(_WANT, {"app_id": app_id, "user_id": user_id, "now": now})


def lease(conn: Connection, owner: str, now: int, seconds: int, limit: int) -> list[Lease]:
    """Lease users whose refresh is due (requested, retried or by timer) and not leased, the longest due first."""
    free = conn.execute(_FREE, {"now": now, "limit": limit}).all()
    return [_take(conn, row.app_id, row.user_id, owner, now + seconds) for row in free]


def holds(conn: Connection, lease: Lease, owner: str, now: int) -> bool:
    """Whether the owner still has this lease. An expired lease is lost, even if no other was taken since."""
    return conn.execute(select(1).where(_has_lease(lease, owner, now))).scalar() is not None


def finish(conn: Connection, lease: Lease, owner: str, now: int, timer_at: int | None) -> bool:
    """Release the lease after a refresh. The next one is due at `timer_at`, or now if one was requested since.

    False, without a change, if the lease was lost: the caller must then roll its writes back by raising.
    """
    no_new_request = refreshes.c.wanted == lease.wanted
    finished = conn.execute(
        update(refreshes)
        .where(_has_lease(lease, owner, now))
        .values(
            done=lease.wanted,
            timer_at=timer_at,
            due_at=case((no_new_request, timer_at), else_=refreshes.c.due_at),
            lease_owner="",
            lease_until=0,
            attempts=0,
            last_error="",
        )
    )
    return finished.rowcount == 1


def fail(conn: Connection, lease: Lease, owner: str, retry_at: int, error: str) -> None:
    """Release the lease after a failure and retry at `retry_at`, or now if a refresh was requested since.

    Does nothing if another lease was taken since.
    """
    no_new_request = refreshes.c.wanted == lease.wanted
    conn.execute(
        update(refreshes)
        .where(_is_this_lease(lease, owner))
        .values(
            due_at=case((no_new_request, retry_at), else_=refreshes.c.due_at),
            lease_owner="",
            lease_until=0,
            attempts=refreshes.c.attempts + 1,
            last_error=error,
        )
    )


def revoke(conn: Connection, app_id: str, user_id: str) -> None:
    """Revoke the lease of this user, because the data that a running refresh has read is outdated."""
    conn.execute(
        update(refreshes)
        .where(refreshes.c.app_id == app_id, refreshes.c.user_id == user_id)
        .values(lease_owner="", lease_until=0)
    )


def release_all(conn: Connection) -> None:
    """Revoke every lease. At a start their owners are dead, since there is one instance."""
    conn.execute(update(refreshes).where(refreshes.c.lease_until > 0).values(lease_owner="", lease_until=0))


def count_waiting(conn: Connection) -> int:
    """The number of users with a requested refresh that is not done; timers do not count."""
    return conn.execute(select(func.count()).select_from(refreshes).where(REFRESH_WAITS)).scalar_one()


def waiting(conn: Connection) -> dict[tuple[str, str], tuple[int, int]]:
    """(app_id, user_id) → (wanted, done), for each user with a requested refresh that is not done."""
    rows = conn.execute(
        select(refreshes.c.app_id, refreshes.c.user_id, refreshes.c.wanted, refreshes.c.done).where(REFRESH_WAITS)
    )
    return {(row.app_id, row.user_id): (row.wanted, row.done) for row in rows}


def of_user(conn: Connection, app_id: str, user_id: str) -> RefreshState | None:
    """None if a refresh was never requested."""
    row = conn.execute(
        select(*columns_of(refreshes, RefreshState)).where(refreshes.c.app_id == app_id, refreshes.c.user_id == user_id)
    ).one_or_none()
    return None if row is None else record_of(RefreshState, row)


def _take(conn: Connection, app_id: str, user_id: str, owner: str, until: int) -> Lease:
    taken = conn.execute(_TAKE, {"app_id": app_id, "user_id": user_id, "owner": owner, "until": until}).one()
    return Lease(app_id, user_id, wanted=taken.wanted, attempts=taken.attempts, number=taken.lease_number)


def _is_this_lease(lease: Lease, owner: str) -> ColumnElement[bool]:
    return and_(
        refreshes.c.app_id == lease.app_id,
        refreshes.c.user_id == lease.user_id,
        refreshes.c.lease_owner == owner,
        refreshes.c.lease_number == lease.number,
    )


def _has_lease(lease: Lease, owner: str, now: int) -> ColumnElement[Any]:
    return and_(_is_this_lease(lease, owner), refreshes.c.lease_until > now)
