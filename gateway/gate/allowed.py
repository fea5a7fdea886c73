"""The 200s: tags for the app, and for the plugin how long they may be kept."""

from __future__ import annotations

from gateway.access.assertion import LIFETIME_SECONDS
from gateway.access.policy import Allow
from gateway.access.tags import user_line
from gateway.access.who import ANONYMOUS, Known, Told
from gateway.gate.changes import Changes
from gateway.gate.prepared import PreparedApp

FRESH_SECONDS = 60
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


def to_keep(answer: bytes, changes: Changes, app: PreparedApp, decision: Allow, who: Told, now: int) -> bytes:
    """`answer`, which may be given again to the same credentials for every path of its class.

    As it is where it must not be kept: what would have been refused is counted each time, and when a credential that
    was refused becomes good, no change names whose it is.
    """
    if decision.instead_of is not None or not (isinstance(who, Known) or who is ANONYMOUS):
        return answer
    user_id, expires_at = who if isinstance(who, Known) else (None, None)
    until = [now + FRESH_SECONDS]
    never = [] if expires_at is None else [expires_at]
    if app.assertions is not None:
        unusable_at = app.assertions.current(decision.tier, user_id, now)[1]
        never.append(unusable_at)
        until.append(unusable_at - LIFETIME_SECONDS // 2)  # the app must be able to use it for a while yet
    return answer[:-2] + changes.keep_line(min(until + never), min(never, default=0)) + b"\r\n"
