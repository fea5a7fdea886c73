"""A sandbox LiteLLM on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from litellm_harness import MASTER_KEY, Clock, LiteLLMHarness, Serve

from gateway.sandbox.litellm import LiteLLMSandbox


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
def serve(aiohttp_server: Any, session: aiohttp.ClientSession) -> Serve:
    """Serve a sandbox with the options asked for."""

    async def start(**options: Any) -> LiteLLMHarness:
        clock = Clock()
        sandbox = LiteLLMSandbox(MASTER_KEY, clock=clock, **options)
        server = await aiohttp_server(sandbox.application())
        return LiteLLMHarness(sandbox, str(server.make_url("")).rstrip("/"), session, clock)

    return start


@pytest.fixture
async def harness(serve: Serve) -> LiteLLMHarness:
    """The sandbox of today's version."""
    return await serve()
