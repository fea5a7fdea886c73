"""A sandbox LiteLLM with its clock and a client, as the tests of this folder use it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from gateway.litellm import LiteLLM
from gateway.sandbox.litellm import LiteLLMSandbox
from gateway.settings import Secret

MASTER_KEY = "sk-master-of-the-sandbox-77aa"


@dataclass
class Clock:
    """A clock that only the test advances."""

    now: float = 1_795_384_200.0  # 2026-11-22 21:50:00 UTC, a Sunday

    def __call__(self) -> float:
        return self.now


@dataclass
class LiteLLMHarness:
    """A served sandbox, its clock, and a client with the master key."""

    sandbox: LiteLLMSandbox
    url: str
    session: aiohttp.ClientSession
    clock: Clock
    litellm: LiteLLM = field(init=False)

    def __post_init__(self) -> None:
        self.litellm = self.client(MASTER_KEY)

    def client(self, *keys: str) -> LiteLLM:
        return LiteLLM(self.session, self.url, tuple(Secret(key) for key in keys), clock=self.clock)

    async def post(self, path: str, body: object, key: str = MASTER_KEY, **headers: str) -> tuple[int, Any]:
        """Somebody's own call, by default an operator's with the master key."""
        headers["Authorization"] = f"Bearer {key}"
        async with self.session.post(self.url + path, json=body, headers=headers) as response:
            return response.status, await response.json()

    async def chat(self, user_id: str, model: str = "gpt-small") -> int:
        """The status of a chat call through the shared key, as Open WebUI makes it."""
        status, _ = await self.post(
            "/v1/chat/completions", {"model": model, "messages": []}, **{"X-OpenWebUI-User-Id": user_id}
        )
        return status

    def requests(self, path: str) -> list[Any]:
        """The bodies sent to `path`, oldest first."""
        return [entry["body"] for entry in self.sandbox.requests if entry["path"] == path]


Serve = Callable[..., Awaitable[LiteLLMHarness]]
