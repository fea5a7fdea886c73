"""Logging: one JSON object per line with an event name and ids as fields; secrets are redacted by key and shape.

log = logging.getLogger(__name__)
log.info("tier_changed", extra=fields(app_id="skai", user_id="u1", **{"from": "free", "to": "pro"}))
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import time
import traceback
from collections.abc import Mapping
from functools import lru_cache
from typing import IO

_SECRET_KEY = re.compile(r"(?i)(secret|password|passwd|authorization|cookie|api_?key|token|signature|credential)")
# Secrets by shape: keys of Stripe, LiteLLM and our own, JWTs, upgrade links, credentials of a header, URLs with a
# password.
_SECRET_SHAPE = re.compile(
    r"\bwhsec_[A-Za-z0-9_\-+/=]{6,}"
    r"|\b(?:sk|rk|pk|whsec|skp|ska)[_-][A-Za-z0-9_\-]{6,}"
    # Matched without its dots too: otherwise a text of many such starts is scanned to its end for each of them.
    r"|\beyJ[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]*){0,2}"
    r"|\b1\.[A-Za-z0-9_\-]{16,}\.[A-Za-z0-9_\-]{40,}"
    r"|(?i:(?<=\bbearer )|(?<=\bbasic ))[A-Za-z0-9._~+/=\-]{8,}"
    r"|(?<=://)[^/\s:@]*:[^/\s]+(?=@)|(?i:(?<=[?&]password=))[^&\s]+"
    r"|\bhttps://(?:checkout|billing)\.stripe\.com/\S+"
)
# A part of each of those: most texts have none, and this check takes a tenth of the time.
_MAYBE_SECRET = re.compile(r"[kcpa][_-]|eyJ|1\.|[rRcC] |://|[dD]=")
_STARS = "********"
_MAX_DEPTH = 8
_MAX_TEXT = 2048
"""Longer texts are cut before redaction, except tracebacks: they come from outside."""
# Made once: `json.dumps` with options makes an encoder for each call.
_encode = json.JSONEncoder(ensure_ascii=True, default=str).encode


def fields(**values: object) -> dict[str, object]:
    """The `extra` of one log call; nested values are redacted too."""
    return {"fields": values}


def redact(value: object, depth: int = 0) -> object:
    """The same value with every secret replaced by stars, at any depth."""
    if depth > _MAX_DEPTH:
        return "…"
    if isinstance(value, str):
        return _without_secrets(value if len(value) <= _MAX_TEXT else value[:_MAX_TEXT] + "…")
    if isinstance(value, Mapping):
        found = ((*_shown(str(key)), item) for key, item in value.items())
        return {key: _STARS if secret and item else redact(item, depth + 1) for key, secret, item in found}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item, depth + 1) for item in value]
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return redact(str(value), depth + 1)


def _without_secrets(text: str) -> str:
    return _SECRET_SHAPE.sub(_STARS, text) if _MAYBE_SECRET.search(text) else text


@lru_cache(maxsize=1024)
def _shown(key: str) -> tuple[str, bool]:
    """The redacted key, and whether its value is a secret. Cached: programs use few keys."""
    return _SECRET_SHAPE.sub(_STARS, key), _SECRET_KEY.search(key) is not None


@lru_cache(maxsize=2)
def _second(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))


class JsonFormatter(logging.Formatter):
    """One line, one object; a traceback has no local variables, a message no raw control characters."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": f"{_second(int(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "event": redact(record.getMessage()),
            "logger": record.name,
        }
        extra = getattr(record, "fields", None)
        if isinstance(extra, Mapping):
            line.update(redact(extra))  # type: ignore[call-overload]  # redact of a mapping is a mapping
        if record.exc_info and record.exc_info[1] is not None:
            line["traceback"] = _without_secrets("".join(traceback.format_exception(record.exc_info[1])))
        return _encode(line)


def set_up(level: int = logging.INFO, stream: IO[str] | None = None) -> None:
    """Log to `stream` (standard error) as JSON lines; replaces any earlier configuration."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # No line per request: it would hide what an operator needs; counters are in /metrics.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
