"""Asking others whose a credential is, while a request waits for its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from gateway.access.authentication import AuthenticatedUser, CredentialLookup, RejectedCredential, ResolveLookup
from gateway.errors import TooMany

LOOKUP_TIMEOUT_SECONDS = 1.0
"""No request waits longer for its answer than this, whatever happens."""
_MAX_PENDING_LOOKUPS = 4096

PendingAnswer = Coroutine[Any, Any, bytes]
"""An answer that somebody else must help with; it comes within `LOOKUP_TIMEOUT_SECONDS`."""


class CredentialResolver:
    """Bounded, and never cancelled: others may wait for the same, and a peer that hangs up takes nothing from them."""

    def __init__(self, resolve: ResolveLookup) -> None:
        self.resolve = resolve
        self._pending: set[asyncio.Future[AuthenticatedUser | RejectedCredential]] = set()

    async def look_up(self, app_id: str, ask: CredentialLookup) -> AuthenticatedUser | RejectedCredential:
        """Whose it is. Raises `UpstreamFailed` while those who know do not answer, `TooMany` if too many are asked."""
        if len(self._pending) >= _MAX_PENDING_LOOKUPS:
            raise TooMany("too many are asked who is asking")
        asked = asyncio.ensure_future(self.resolve(app_id, ask))
        self._pending.add(asked)
        asked.add_done_callback(self._pending.discard)
        return await asyncio.shield(asked)
