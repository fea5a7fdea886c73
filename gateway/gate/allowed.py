"""The 200s."""

from __future__ import annotations

from gateway.access.policy import Allow
from gateway.access.tags import user_line
from gateway.gate.prepared import PreparedApp

_NAMELESS = b"\r\n"


def last_lines(user_id: str | None) -> bytes:
    """The end of an answer that names them."""
    return _NAMELESS if user_id is None else user_line(user_id) + b"\r\n"


def allowed(app: PreparedApp, decision: Allow, user_id: str | None, end: bytes, now: float) -> bytes:
    """Let through, tagged and counted. `end` is `last_lines(user_id)`; `now` in epoch seconds."""
    start, passed, nameless = app.tiers[decision.tier.tier_id]
    if not decision.named:
        user_id, end = None, _NAMELESS
    if decision.instead_of is not None:
        app.count(f"would_{decision.instead_of}", decision.tier.tier_id)
    elif user_id is None:
        nameless.value += 1
    else:
        passed.value += 1
    if app.assertions is not None:
        start += app.assertions.current(decision.tier, user_id, int(now))[0]
    return start + end
