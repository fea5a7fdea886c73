"""Tiers that an operator has granted without a subscription."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, or_, select, update

from gateway.errors import NotFound
from gateway.store.schema import grants
from gateway.tiers.model import Grant


@dataclass(frozen=True, slots=True)
class StoredGrant:
    """A grant with its user and its history."""

    app_id: str
    user_id: str
    grant: Grant
    given_at: int
    revoked_at: int | None


def add(
    conn: Connection, app_id: str, user_id: str, tier: str, reason: str, until_at: int | None, now: int
) -> int:  # fmt: skip
    """Grant a tier until `until_at`, None without an end. Each call is a new grant. Returns its grant_id."""
    added = conn.execute(
        insert(grants).returning(grants.c.grant_id),
        {
            "app_id": app_id,
            "user_id": user_id,
            "tier": tier,
            "reason": reason,
            "given_at": now,
            "until_at": until_at,
        },
    )
    return int(added.scalar_one())


def live(conn: Connection, app_id: str, user_id: str, now: int) -> list[Grant]:
    """The grants in force at `now`, oldest first. A grant is not in force any more at its `until_at`."""
    rows = conn.execute(
        select(grants)
        .where(
            grants.c.app_id == app_id,
            grants.c.user_id == user_id,
            grants.c.revoked_at.is_(None),
            or_(grants.c.until_at.is_(None), grants.c.until_at > now),
        )
        .order_by(grants.c.grant_id)
    )
    return [_stored_grant(row).grant for row in rows]


def of_user(conn: Connection, app_id: str, user_id: str) -> list[StoredGrant]:
    """All grants of this user, revoked and expired ones too, newest first."""
    rows = conn.execute(
        select(grants)
        .where(grants.c.app_id == app_id, grants.c.user_id == user_id)
        .order_by(grants.c.grant_id.desc())
    )  # fmt: skip
    return [_stored_grant(row) for row in rows]


def revoke(conn: Connection, grant_id: int, now: int) -> StoredGrant:
    """Revoke a grant. Repeating it keeps the first time. Raises `NotFound`."""
    conn.execute(
        update(grants).where(grants.c.grant_id == grant_id, grants.c.revoked_at.is_(None)).values(revoked_at=now)
    )
    row = conn.execute(select(grants).where(grants.c.grant_id == grant_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no grant {grant_id}.", code="no_such_grant")
    return _stored_grant(row)


def revoke_all(conn: Connection, app_id: str, user_id: str, now: int) -> int:
    """Revoke all grants of this user that are in force. Returns how many."""
    revoked = conn.execute(
        update(grants)
        .where(
            grants.c.app_id == app_id,
            grants.c.user_id == user_id,
            grants.c.revoked_at.is_(None),
            or_(grants.c.until_at.is_(None), grants.c.until_at > now),
        )
        .values(revoked_at=now)
    )
    return revoked.rowcount


def _stored_grant(row: Row[Any]) -> StoredGrant:
    grant = Grant(grant_id=row.grant_id, tier=row.tier, reason=row.reason, until_at=row.until_at)
    return StoredGrant(row.app_id, row.user_id, grant, row.given_at, row.revoked_at)
