"""What lookups need: connections to the issuers, and the time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from gateway.app.key_sets import KeySets
from gateway.litellm import LiteLLM


@dataclass(frozen=True, slots=True)
class LookupServices:
    """`litellm` is None where LITELLM_URL is not set."""

    session: aiohttp.ClientSession
    litellm: LiteLLM | None
    key_sets: KeySets
    clock: Callable[[], float]

    def now(self) -> int:
        return int(self.clock())
