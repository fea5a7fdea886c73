"""Alerts for the operator: one row per (kind, subject), open until resolved."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select, text, update

from gateway.store.rows import columns_of, record_of
from gateway.store.schema import alerts


@dataclass(frozen=True, slots=True)
class Alert:
    """`count` is how often it was raised since `opened_at`. `resolved_at` is None while it is open."""

    kind: str
    subject: str
    message: str
    opened_at: int
    last_at: int
    count: int
    resolved_at: int | None


_OPEN = text(
    "INSERT INTO alerts (kind, subject, message, opened_at, last_at, count)"
    " VALUES (:kind, :subject, :message, :now, :now, 1)"
    " ON CONFLICT (kind, subject) DO UPDATE SET message = excluded.message, last_at = excluded.last_at,"
    " opened_at = CASE WHEN alerts.resolved_at IS NULL THEN alerts.opened_at ELSE excluded.opened_at END,"
    " count = CASE WHEN alerts.resolved_at IS NULL THEN alerts.count + 1 ELSE 1 END,"
    " resolved_at = NULL"
    " RETURNING count"
)


def open_(conn: Connection, kind: str, subject: str, message: str, now: int) -> bool:
    """Raise an alert. True if it was not open before; False if it was, and its count is increased."""
    raised = {"kind": kind, "subject": subject, "message": message, "now": now}
    return bool(conn.execute(_OPEN, raised).scalar_one() == 1)


def resolve(conn: Connection, kind: str, subject: str, now: int) -> bool:
    """Close an alert. False if it was not open."""
    resolved = conn.execute(
        update(alerts)
        .where(alerts.c.kind == kind, alerts.c.subject == subject, alerts.c.resolved_at.is_(None))
        .values(resolved_at=now)
    )
    return resolved.rowcount == 1


def is_open(conn: Connection, kind: str, subject: str) -> bool:
    found = select(1).where(alerts.c.kind == kind, alerts.c.subject == subject, alerts.c.resolved_at.is_(None))
    return conn.execute(found).scalar() is not None


def live(conn: Connection) -> list[Alert]:
    """Every open alert, the oldest first."""
    rows = conn.execute(
        select(*columns_of(alerts, Alert))
        .where(alerts.c.resolved_at.is_(None))
        .order_by(alerts.c.opened_at, alerts.c.kind, alerts.c.subject)
    )  # fmt: skip
    return [record_of(Alert, row) for row in rows]
