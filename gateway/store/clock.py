"""Corrects waits after this machine's clock has jumped."""

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
    """The clock has jumped by `seconds` (negative: back) to `now`: keep the remaining time of every wait.

    After a jump forward, waits end at once, which is harmless; `first_failed_at` of notices is corrected. Timers for a
    fixed instant, such as the end of a grace period, are not moved.
    """
    if seconds < 0:
        for table, waits in _WAITS:
            conn.execute(update(table).where(waits, table.c.due_at > now).values(due_at=table.c.due_at + seconds))
    since = notices.c.first_failed_at
    conn.execute(update(notices).where(NOTICE_WAITS, since.is_not(None)).values(first_failed_at=since + seconds))


def end_impossible_waits(conn: Connection, now: int, longest_seconds: int) -> None:
    """At a start, when the size of a jump is unknown: end every wait that is longer than `longest_seconds`."""
    for table, waits in _WAITS:
        conn.execute(update(table).where(waits, table.c.due_at > now + longest_seconds).values(due_at=now))
