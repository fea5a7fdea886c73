"""Lookups of credentials at identity providers, while a request waits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from gateway.access.authentication import AuthenticatedUser, CredentialLookup, RejectedCredential, ResolveLookup
from gateway.errors import TooMany

LOOKUP_TIMEOUT_SECONDS = 1.0
"""The longest that a request waits for its answer."""
_MAX_PENDING_LOOKUPS = 4096

PendingAnswer = Coroutine[Any, Any, bytes]
"""An answer that needs a lookup or waits for limits; it comes within `LOOKUP_TIMEOUT_SECONDS`."""


class CredentialResolver:
    """Bounded. A lookup is never cancelled: several requests may share it, and one client may disconnect."""

    def __init__(self, resolve: ResolveLookup) -> None:
        self.resolve = resolve
        self._pending: set[asyncio.Future[AuthenticatedUser | RejectedCredential]] = set()

    async def look_up(self, app_id: str, lookup: CredentialLookup) -> AuthenticatedUser | RejectedCredential:
        """The user of the credential. Raises `UpstreamFailed` if the provider does not answer, `TooMany`."""
        if len(self._pending) >= _MAX_PENDING_LOOKUPS:
            raise TooMany("too many credential lookups at once")
        pending = asyncio.ensure_future(self.resolve(app_id, lookup))
        self._pending.add(pending)
        pending.add_done_callback(self._pending.discard)
        return await asyncio.shield(pending)
