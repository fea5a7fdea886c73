"""Waits that a jump of this machine's clock made too long or too short."""

from __future__ import annotations

from sqlalchemy import Connection, or_, update

from gateway.store.schema import EVENT_WAITS, NOTICE_WAITS, REFRESH_WAITS, inbox, notices, provisioning, refreshes

_WAITS = (
    (inbox, EVENT_WAITS),
    (refreshes, or_(REFRESH_WAITS, refreshes.c.attempts > 0)),
    (provisioning, provisioning.c.state == "waiting"),
    (notices, NOTICE_WAITS),
)


def shift_waits(conn: Connection, now: int, seconds: int) -> None:
    """The clock jumped by `seconds`, less than 0 for back, and is at `now`: every wait ends as long from now as before.

    After a jump forward what waits is tried at once, which harms nobody; for how long an app has not taken its notices
    is still counted right. A timer that stands for an instant (the end of a grace) stays where it is.
    """
    if seconds < 0:
        for table, waits in _WAITS:
            conn.execute(update(table).where(waits, table.c.due_at > now).values(due_at=table.c.due_at + seconds))
    since = notices.c.first_failed_at
    conn.execute(update(notices).where(NOTICE_WAITS, since.is_not(None)).values(first_failed_at=since + seconds))


def end_impossible_waits(conn: Connection, now: int, longest_seconds: int) -> None:
    """At a start, when nobody knows by how much the clock has jumped: no wait is longer than the longest one."""
    for table, waits in _WAITS:
        conn.execute(update(table).where(waits, table.c.due_at > now + longest_seconds).values(due_at=now))
