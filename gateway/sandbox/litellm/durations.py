"""When a budget of some duration is set back, by LiteLLM's calendar in UTC. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_SHAPE = re.compile(r"([1-9]\d{0,5})(mo|[smhdw])")
_WORDS = {"hourly": "1h", "daily": "1d", "weekly": "7d", "monthly": "1mo"}


def valid(duration: str) -> bool:
    """Whether LiteLLM takes it: `1d`, `24h`, `monthly`; not `1 day`, `0d` or `1D`."""
    return duration in _WORDS or _SHAPE.fullmatch(duration) is not None


def reset_at(duration: str, now: float) -> float:
    """The next reset: a day ends at midnight, seven days on Monday, thirty days or a month on the first."""
    match = _SHAPE.fullmatch(_WORDS.get(duration, duration))
    if match is None:
        raise ValueError(duration)
    count, unit = int(match[1]), match[2]
    at = datetime.fromtimestamp(now, UTC)
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "w":
        count, unit = count * 7, "d"
    if unit == "h" and count % 24 == 0:
        count, unit = count // 24, "d"
    if unit == "mo" or (unit == "d" and count == 30):
        months = at.month - 1 + (count if unit == "mo" else 1)
        ends = midnight.replace(year=at.year + months // 12, month=months % 12 + 1, day=1)
    elif unit == "d":
        ends = midnight + timedelta(days=7 - at.weekday() if count == 7 else count)
    elif unit == "h":
        ends = at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=count)
    else:
        ends = at.replace(second=0, microsecond=0) + timedelta(seconds=count * (60 if unit == "m" else 1))
    return ends.timestamp()


def seconds(duration: str) -> float:
    """How long a key lives that was made with it."""
    match = _SHAPE.fullmatch(duration)
    if match is None:
        raise ValueError(duration)
    return int(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "mo": 2592000}[match[2]]


def text(at: float | None) -> str | None:
    """An instant as LiteLLM writes it."""
    if at is None:
        return None
    moment = datetime.fromtimestamp(at, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + (f".{moment.microsecond:06d}" if moment.microsecond else "") + "Z"
