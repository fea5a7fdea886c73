"""How long the Traefik plugin may keep an answer."""

from __future__ import annotations

from gateway.access.assertion import LIFETIME_SECONDS
from gateway.access.authentication import ANONYMOUS, AuthenticatedUser, Authentication
from gateway.access.policy import Allow
from gateway.access.table import TierTable
from gateway.gate.changes import Changes
from gateway.gate.prepared_app import PreparedApp

FRESH_SECONDS = 60


class PluginCaching:
    """Adds `X-SK-Keep`: a minute while the stream of changes is open, and never past the instant at which the answer
    expires."""

    def __init__(self, changes: Changes, table: TierTable) -> None:
        self._changes = changes
        self._table = table

    def with_keep_header(
        self, answer: bytes, app: PreparedApp, decision: Allow, authentication: Authentication, now: int
    ) -> bytes:
        """`answer` with the header; the plugin may reuse it for the same credentials and every path of its class.

        Without it where it must not be kept: a request that `enforce` would have refused is counted each time, and no
        change is published when a rejected credential becomes valid.
        """
        if decision.unenforced_outcome is not None or not (
            isinstance(authentication, AuthenticatedUser) or authentication is ANONYMOUS
        ):
            return answer
        user_id, expires_at = authentication if isinstance(authentication, AuthenticatedUser) else (None, None)
        changes_at = None if user_id is None else self._table.changes_at(app.app_id, user_id)
        never = [instant for instant in (expires_at, changes_at) if instant is not None]
        until = [now + FRESH_SECONDS]
        if app.assertions is not None:
            unusable_at = app.assertions.current(decision.tier, user_id, now)[1]
            never.append(unusable_at)
            until.append(unusable_at - LIFETIME_SECONDS // 2)  # the app needs some lifetime left
        line = self._changes.keep_header_line(min(until + never), min(never, default=0))
        return answer[:-2] + line + b"\r\n"
