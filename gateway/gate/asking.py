"""Asking others whose a credential is, while a request waits for its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from gateway.access.who import Ask, Known, Refused, Resolve
from gateway.errors import TooMany

ASK_SECONDS = 1.0
"""No request waits longer for its answer than this, whatever happens."""
_MAX_ASKED = 4096

Waiting = Coroutine[Any, Any, bytes]
"""An answer that somebody else must help with; it comes within `ASK_SECONDS`."""


class Asking:
    """Bounded, and never cancelled: others may wait for the same, and a peer that hangs up takes nothing from them."""

    def __init__(self, resolve: Resolve) -> None:
        self.resolve = resolve
        self._asked: set[asyncio.Future[Known | Refused]] = set()

    async def told(self, app_id: str, ask: Ask) -> Known | Refused:
        """Whose it is. Raises `UpstreamFailed` while those who know do not answer, `TooMany` if too many are asked."""
        if len(self._asked) >= _MAX_ASKED:
            raise TooMany("too many are asked who is asking")
        asked = asyncio.ensure_future(self.resolve(app_id, ask))
        self._asked.add(asked)
        asked.add_done_callback(self._asked.discard)
        return await asyncio.shield(asked)
