"""The 200s."""

from __future__ import annotations

from gateway.access.policy import Allow
from gateway.access.tags import user_line
from gateway.gate.prepared_app import PreparedApp

_NO_USER_LINE = b"\r\n"


def user_header_lines(user_id: str | None) -> bytes:
    """The end of an answer that names them."""
    return _NO_USER_LINE if user_id is None else user_line(user_id) + b"\r\n"


def allow_response(app: PreparedApp, decision: Allow, user_id: str | None, end: bytes, now: float) -> bytes:
    """Let through, tagged and counted. `end` is `user_header_lines(user_id)`; `now` in epoch seconds."""
    start, passed, nameless = app.tiers[decision.tier.tier_id]
    if not decision.named:
        user_id, end = None, _NO_USER_LINE
    if decision.unenforced_outcome is not None:
        app.count(f"would_{decision.unenforced_outcome}", decision.tier.tier_id)
    elif user_id is None:
        nameless.value += 1
    else:
        passed.value += 1
    if app.assertions is not None:
        start += app.assertions.current(decision.tier, user_id, int(now))[0]
    return start + end
