"""Tells the gate, synchronously, which of its answers are no longer valid by what only this process knows."""

from __future__ import annotations

import asyncio

from gateway.billing.accounts.forget import SESSIONS_LAST_SECONDS
from gateway.gate import GateHandler


class GateInvalidation:
    """Constructed before the gate, which is attached before anything is installed: until then it has no answers."""

    def __init__(self) -> None:
        self._gate: GateHandler | None = None

    def attach(self, gate: GateHandler) -> None:
        """Forward to this gate from now on."""
        self._gate = gate

    def credential_changed(self, app_id: str, user_id: str) -> None:
        """A credential of the user is no longer valid, or belongs to another user."""
        if self._gate is not None:
            self._gate.credential_changed(app_id, user_id)

    def keys_removed(self, url: str) -> None:
        """An issuer removed a signing key. One notice covers all apps: one for each of many would be long."""
        if self._gate is not None:
            self._gate.request_cache.forget()
            self._gate.changes.all_changed()

    def user_forgotten(self, app_id: str, user_id: str) -> None:
        """Once the user's sessions have expired, a request means that they came back and need LiteLLM limits."""
        if self._gate is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(SESSIONS_LAST_SECONDS, self._gate.reset_first_seen, app_id, user_id)
