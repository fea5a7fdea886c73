"""Billing periods by the calendar, in UTC. Pure."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta


def after(anchor_at: int, interval: str, count: int, steps: int) -> int:
    """The anchor moved by `steps` periods; a day the month does not have becomes its last one, never the next month."""
    anchor = datetime.fromtimestamp(anchor_at, UTC)
    if interval in ("day", "week"):
        days = count * steps * (7 if interval == "week" else 1)
        return int((anchor + timedelta(days=days)).timestamp())
    months = anchor.month - 1 + count * steps * (12 if interval == "year" else 1)
    year, month = anchor.year + months // 12, months % 12 + 1
    day = min(anchor.day, calendar.monthrange(year, month)[1])
    return int(anchor.replace(year=year, month=month, day=day).timestamp())


def end_after(anchor_at: int, interval: str, count: int, moment: int) -> int:
    """The first period boundary later than `moment`."""
    steps = 1
    while (end := after(anchor_at, interval, count, steps)) <= moment:
        steps += 1
    return end
