"""What a person must look at: one row per (kind, subject), open until resolved."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, case, null, select, update

from gateway.store.schema import alerts
from gateway.store.upsert import insert_or_update


@dataclass(frozen=True, slots=True)
class Alert:
    """`count` is how often it was raised since it opened. `resolved_at` is None while it is open."""

    kind: str
    subject: str
    message: str
    opened_at: int
    last_at: int
    count: int
    resolved_at: int | None


def open_(conn: Connection, kind: str, subject: str, message: str, now: int) -> bool:
    """Raise an alert. True if it was not open: never raised, or resolved since; else it counts one more."""
    reopened = alerts.c.resolved_at.is_not(None)
    statement = insert_or_update(
        conn,
        alerts,
        ("kind", "subject"),
        {"kind": kind, "subject": subject, "message": message, "opened_at": now, "last_at": now, "count": 1},
        lambda new: {
            "message": new.message,
            "opened_at": case((reopened, new.opened_at), else_=alerts.c.opened_at),
            "last_at": new.last_at,
            "count": case((reopened, 1), else_=alerts.c.count + 1),
            "resolved_at": null(),
        },
    )
    return bool(conn.execute(statement.returning(alerts.c["count"])).scalar_one() == 1)


def resolve(conn: Connection, kind: str, subject: str, now: int) -> bool:
    """Close an alert. False if it was not open."""
    resolved = conn.execute(
        update(alerts)
        .where(alerts.c.kind == kind, alerts.c.subject == subject, alerts.c.resolved_at.is_(None))
        .values(resolved_at=now)
    )
    return resolved.rowcount == 1


def live(conn: Connection) -> list[Alert]:
    """Every open alert, the oldest first."""
    rows = conn.execute(
        select(alerts)
        .where(alerts.c.resolved_at.is_(None))
        .order_by(alerts.c.opened_at, alerts.c.kind, alerts.c.subject)
    )  # fmt: skip
    return [Alert(*row) for row in rows]
