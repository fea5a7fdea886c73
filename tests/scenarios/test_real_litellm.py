"""From the purchase to the next chat call, on the real LiteLLM: what the tier says is what the model's proxy does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from servers.litellm_server import RealLiteLLM

from gateway.app.rehearsal import Rehearsal, open_rehearsal
from gateway.app.story_player import Player, Telling
from gateway.billing.provision import provision, renew_limits
from gateway.catalog import parse
from gateway.store import outbox

pytestmark = pytest.mark.needs_litellm
Chat = Callable[[str], Awaitable[int]]


def _catalog(mode: str, app_id: str, free_rpm: int = 2) -> Any:
    """The shipped app, with a free tier that a few calls exhaust and that has the small model only."""
    raw = json.loads((Path(__file__).parents[2] / "apps.json").read_text(encoding="utf-8"))
    app = raw["apps"][0]
    app["id"], app["litellm"] = app_id, {"mode": mode, "user_id": "{app_id}-{user_id}"}
    app["tiers"][0]["limits"].update({"rpm_limit": free_rpm, "models": ["gpt-small"]})
    return parse(json.dumps(raw).encode())


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


async def _chat(session: aiohttp.ClientSession, url: str, key: str, model: str, headers: dict[str, str]) -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    sent = {"Authorization": f"Bearer {key}", **headers}
    async with session.post(f"{url}/v1/chat/completions", json=body, headers=sent) as answer:
        await answer.read()
        return answer.status


async def _caller(mode: str, real: RealLiteLLM, session: aiohttp.ClientSession, own_id: str) -> Chat:
    """How the user's calls come: with the shared key and Open WebUI's header, or with a key of their own."""
    key, headers = real.master_key, {"X-OpenWebUI-User-Id": own_id}
    admin = {"Authorization": f"Bearer {real.master_key}"}
    async with session.post(
        f"{real.url}/key/generate", json={} if mode == "customer" else {"user_id": own_id}, headers=admin
    ) as answer:
        key = (await answer.json())["key"]
    if mode == "internal_user":
        headers = {}
    return lambda model: _chat(session, real.url, key, model, headers)


@pytest.mark.parametrize("mode", ["customer", "internal_user"])
async def test_the_very_next_call_obeys_the_new_tier(
    real_litellm: RealLiteLLM, session: aiohttp.ClientSession, mode: str
) -> None:
    catalog = _catalog(mode, f"next-{mode.replace('_', '-')}")
    app = next(iter(catalog.apps.values()))
    async with open_rehearsal(catalog, litellm_at=(real_litellm.url, real_litellm.master_key)) as stage:
        person = Player(stage, app, Telling(0), session)
        await person.do({"do": "open_checkout", "tier": "paid"})  # makes the person known, and so provisioned
        await person.do({"expect": {"tier": "first"}})
        chat = await _caller(mode, real_litellm, session, f"{app.app_id}-{person.user_id}")
        assert await chat("gpt-big") == 403
        statuses = [await chat("gpt-small") for _ in range(4)]
        assert statuses[0] == 200, statuses
        assert statuses[-1] == 429, statuses
        await person.do({"do": "pay"})
        await person.do({"expect": {"tier": "paid", "status": "active"}})
        assert [await chat("gpt-big") for _ in range(4)] == [200] * 4
        await person.do({"do": "portal", "action": "cancel_now"})
        await person.do({"expect": {"tier": "first", "status": "canceled"}})
        assert await chat("gpt-big") == 403


@pytest.mark.parametrize("mode", ["customer", "internal_user"])
async def test_limits_edited_in_apps_json_reach_every_user_of_the_tier(
    real_litellm: RealLiteLLM, session: aiohttp.ClientSession, mode: str
) -> None:
    app_id = f"edit-{mode.replace('_', '-')}"
    catalog = _catalog(mode, app_id)
    async with open_rehearsal(catalog, litellm_at=(real_litellm.url, real_litellm.master_key)) as stage:
        people = [Player(stage, catalog.apps[app_id], Telling(0), session) for _ in range(3)]
        for person in people:
            await person.do({"do": "open_checkout", "tier": "paid"})
            await person.do({"expect": {"tier": "first"}})
        stage.billing.catalog = _catalog(mode, app_id, free_rpm=500)
        assert await renew_limits(stage.billing) == len(people)
        await stage.settle()
        assert await renew_limits(stage.billing) == 0
        for person in people:
            chat = await _caller(mode, real_litellm, session, f"{app_id}-{person.user_id}")
            assert [await chat("gpt-small") for _ in range(5)] == [200] * 5


async def test_a_database_outage_of_litellm_is_outlived(
    real_litellm: RealLiteLLM, session: aiohttp.ClientSession
) -> None:
    catalog = _catalog("internal_user", "outage")
    async with open_rehearsal(catalog, litellm_at=(real_litellm.url, real_litellm.master_key)) as stage:
        person = Player(stage, catalog.apps["outage"], Telling(0), session)
        await person.do({"do": "open_checkout", "tier": "paid"})
        await person.do({"expect": {"tier": "first"}})
        real_litellm.stop_database()
        try:
            await person.do({"do": "pay"})
            await stage.hand_over(stage.held_back())
            while not (due := await _due(stage)):
                await stage.work_once()
            await provision(stage.billing, due[0])
            (wish,) = await stage.billing.store.read(lambda conn: outbox.of_user(conn, "outage", person.user_id))
            assert (wish.state, wish.attempts > 0) == ("waiting", True), wish
        finally:
            real_litellm.start_database()
        await person.do({"expect": {"tier": "paid", "status": "active"}})


async def _due(stage: Rehearsal) -> list[outbox.Wish]:
    """The wishes that are due, with Stripe's part of the work done but LiteLLM's not."""
    return await stage.billing.store.read(lambda conn: outbox.due(conn, stage.billing.now(), 8))
