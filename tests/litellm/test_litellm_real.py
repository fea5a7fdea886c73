"""What only the real LiteLLM can show: its reset job, and its database going away."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from servers.litellm_server import RealLiteLLM
from servers.traefik import until

from gateway.catalog.model import Limits
from gateway.errors import UpstreamFailed
from gateway.litellm import LiteLLM
from gateway.settings import Secret

pytestmark = pytest.mark.needs_litellm
PRO = Limits(max_budget_usd=10, tpm_limit=500_000, rpm_limit=60)


@pytest.fixture
def litellm(real_litellm: RealLiteLLM, session: aiohttp.ClientSession) -> LiteLLM:
    return LiteLLM(session, real_litellm.url, (Secret(real_litellm.master_key),))


@pytest.fixture
def ask(real_litellm: RealLiteLLM, session: aiohttp.ClientSession) -> Callable[..., Awaitable[Any]]:
    """An operator's own call."""

    async def call(method: str, path: str, body: object = None, **headers: str) -> Any:
        headers["Authorization"] = f"Bearer {real_litellm.master_key}"
        async with session.request(method, real_litellm.url + path, json=body, headers=headers) as response:
            return await response.json()

    return call


async def test_a_pinned_budget_reset_is_still_done(litellm: LiteLLM, ask: Callable[..., Awaitable[Any]]) -> None:
    """The ground of our cure for the reset race: a past budget_reset_at sent along is kept, and the job acts on it."""
    mark = uuid.uuid4().hex[:8]
    customer, budget = f"c-{mark}", f"b-{mark}"
    await litellm.provision_customer(customer, budget, PRO)
    await ask("POST", "/v1/chat/completions", {"model": "gpt-small", "messages": [], "user": customer})

    async def spent() -> bool:
        return bool((await ask("GET", f"/customer/info?end_user_id={customer}"))["spend"] > 0)

    await until(spent, "the spend lands in the database")
    past = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    row = await ask("POST", "/budget/update", {"budget_id": budget, "budget_duration": "7d", "budget_reset_at": past})
    assert datetime.fromisoformat(row["budget_reset_at"]) < datetime.now(UTC)

    async def set_back() -> bool:
        info = await ask("GET", f"/customer/info?end_user_id={customer}")
        ends = datetime.fromisoformat(info["litellm_budget_table"]["budget_reset_at"])
        return bool(info["spend"] == 0) and ends > datetime.now(UTC)

    await until(set_back, "LiteLLM's job sets the spend back")


async def test_spend_that_we_set_back_no_longer_blocks(litellm: LiteLLM, ask: Callable[..., Awaitable[Any]]) -> None:
    """The ground of the cure for a user: `spend: 0` counts for the very next call."""
    user_id = f"u-{uuid.uuid4().hex[:8]}"
    tiny = Limits(max_budget_usd=0.000001)
    await litellm.provision_internal_user(user_id, tiny, previous_budget_duration=None)
    key = (await ask("POST", "/key/generate", {"user_id": user_id}))["key"]
    chat = {"model": "gpt-small", "messages": [{"role": "user", "content": "hi"}]}

    async def blocked() -> bool:
        answer = await _as(litellm, key, ask, chat)
        return "error" in answer and answer["error"]["type"] == "budget_exceeded"

    await until(blocked, "the budget is spent")

    async def landed() -> bool:
        return bool((await ask("GET", f"/v2/user/info?user_id={user_id}"))["spend"] > 0)

    await until(landed, "the spend lands in the database")
    await ask("POST", "/user/update", {"user_id": user_id, "spend": 0, "budget_duration": "7d"})
    assert "choices" in await _as(litellm, key, ask, chat)


async def test_a_database_outage_is_retryable_and_heals(litellm: LiteLLM, real_litellm: RealLiteLLM) -> None:
    user_id = f"u-{uuid.uuid4().hex[:8]}"
    await litellm.provision_internal_user(user_id, PRO, previous_budget_duration=None)
    await asyncio.to_thread(real_litellm.stop_database)
    try:
        for previous in (None, "1d"):
            with pytest.raises(UpstreamFailed) as caught:
                await litellm.provision_internal_user(user_id, PRO, previous_budget_duration=previous)
            assert caught.value.retryable, f"{caught.value} {caught.value.detail}"
        with pytest.raises(UpstreamFailed) as caught:
            await litellm.provision_customer(user_id, "skai-pro", PRO)
        assert caught.value.retryable, f"{caught.value} {caught.value.detail}"
        await until(lambda: _not_ready(litellm), "/health/readiness notices", 30)
    finally:
        await asyncio.to_thread(real_litellm.start_database)

    async def healed() -> bool:
        try:
            await litellm.ping()
            return (await litellm.provision_internal_user(user_id, PRO, previous_budget_duration=None)).matches
        except UpstreamFailed:
            return False

    await until(healed, "LiteLLM finds its database again", 60)


async def _not_ready(litellm: LiteLLM) -> bool:
    try:
        await litellm.ping()
    except UpstreamFailed as exc:
        return exc.retryable
    return False


async def _as(litellm: LiteLLM, key: str, ask: Callable[..., Awaitable[Any]], body: object) -> Any:
    return await ask("POST", "/v1/chat/completions", body, **{"x-litellm-api-key": f"Bearer {key}"})
