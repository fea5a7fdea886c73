"""From the purchase to the next chat call, on the real LiteLLM: it enforces the limits of the tier."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from servers.litellm_server import RealLiteLLM
from servers.running import SESSION_SECRET, running_application, write_apps
from servers.traefik import until

from gateway.billing.provision.provision import provision, renew_limits
from gateway.catalog import parse
from gateway.litellm import LiteLLM
from gateway.sandbox.demo.sample_app import session_token
from gateway.sandbox.stories.delivery_order import DeliveryOrder
from gateway.sandbox.stories.player import StoryPlayer
from gateway.sandbox.stories.simulation import Simulation, open_simulation
from gateway.settings import Secret
from gateway.store import provisioning

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
    async with open_simulation(catalog, litellm_at=(real_litellm.url, real_litellm.master_key)) as stage:
        person = StoryPlayer(stage, app, DeliveryOrder(0), session)
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
    async with open_simulation(catalog, litellm_at=(real_litellm.url, real_litellm.master_key)) as stage:
        people = [StoryPlayer(stage, catalog.apps[app_id], DeliveryOrder(0), session) for _ in range(3)]
        for person in people:
            await person.do({"do": "open_checkout", "tier": "paid"})
            await person.do({"expect": {"tier": "first"}})
        stage.billing.apps.catalog = _catalog(mode, app_id, free_rpm=500)
        assert await renew_limits(stage.billing.work, stage.billing.apps) == len(people)
        await stage.settle()
        assert await renew_limits(stage.billing.work, stage.billing.apps) == 0
        for person in people:
            chat = await _caller(mode, real_litellm, session, f"{app_id}-{person.user_id}")
            assert [await chat("gpt-small") for _ in range(5)] == [200] * 5


async def test_provisioning_survives_a_database_outage_of_litellm(
    real_litellm: RealLiteLLM, session: aiohttp.ClientSession
) -> None:
    catalog = _catalog("internal_user", "outage")
    async with open_simulation(catalog, litellm_at=(real_litellm.url, real_litellm.master_key)) as stage:
        person = StoryPlayer(stage, catalog.apps["outage"], DeliveryOrder(0), session)
        await person.do({"do": "open_checkout", "tier": "paid"})
        await person.do({"expect": {"tier": "first"}})
        real_litellm.stop_database()
        try:
            await person.do({"do": "pay"})
            await stage.deliver_events(stage.take_new_events())
            while not (due := await _due(stage)):
                await stage.work_once()
            await provision(stage.billing, due[0])
            job = await stage.billing.work.read(lambda conn: provisioning.get(conn, "outage", person.user_id))
            assert job is not None
            assert (job.state, job.attempts > 0) == ("waiting", True), job
        finally:
            real_litellm.start_database()
        await person.do({"expect": {"tier": "paid", "status": "active"}})


async def _due(stage: Simulation) -> list[provisioning.ProvisioningJob]:
    """The jobs that are due, with Stripe's part of the work done but LiteLLM's not."""
    return await stage.billing.work.read(lambda conn: provisioning.due(conn, stage.billing.work.now(), 8))


async def test_t3_a_first_seen_user_is_limited_from_the_first_call_on(
    real_litellm: RealLiteLLM, session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the gate first, as every request of a browser goes; the calls to LiteLLM come right behind it."""
    # It takes 0.1 to 0.3 s; a proxy that has just started, on a machine that runs other tests, takes longer.
    monkeypatch.setattr("gateway.gate.first_seen.MAX_WAIT_SECONDS", 10.0)

    def change(apps: dict[str, Any]) -> None:
        apps["apps"][0]["id"] = "first-seen"
        apps["apps"][0]["tiers"][0]["limits"].update({"rpm_limit": 2, "models": ["gpt-small"]})

    write_apps(tmp_path, change)
    at = {"LITELLM_URL": real_litellm.url, "LITELLM_KEY": real_litellm.master_key}
    async with running_application(tmp_path, **at) as running:
        for user_id in (f"never-seen-{uuid.uuid4().hex}" for _ in range(3)):
            cookie = f"token={session_token(SESSION_SECRET, user_id, int(time.time()))}"
            answers = await asyncio.gather(
                *(running.gate("/api/chat", app="first-seen", Cookie=cookie) for _ in range(4))
            )
            assert {(status, headers["X-SK-Tier"]) for status, headers, _ in answers} == {(200, "free")}
            headers = {"X-OpenWebUI-User-Id": user_id}
            chat = partial(_chat, session, real_litellm.url, real_litellm.master_key, headers=headers)
            assert await chat("gpt-big") == 403
            statuses = await asyncio.gather(*(chat("gpt-small") for _ in range(8)))
            assert sorted(statuses) == [200] * 2 + [429] * 6


async def test_the_default_budget_exists_before_the_first_customer(
    real_litellm: RealLiteLLM, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    def change(apps: dict[str, Any]) -> None:
        apps["apps"][0]["id"] = "made-at-start"

    write_apps(tmp_path, change)
    at = {"LITELLM_URL": real_litellm.url, "LITELLM_KEY": real_litellm.master_key}
    litellm = LiteLLM(session, real_litellm.url, (Secret(real_litellm.master_key),))
    async with running_application(tmp_path, **at) as running:

        async def made(app_id: str) -> bool:
            app = running.application.parts.billing.apps.catalog.apps[app_id]
            stored = await litellm.compare_budget(f"{app_id}.free", app.default_tier.limits)
            return stored is not None and stored.differences == ()

        await until(lambda: made("made-at-start"), "the budget is made at start")

        def add(apps: dict[str, Any]) -> None:
            change(apps)
            apps["apps"][1] |= {"id": "added-later", "litellm": {"mode": "customer", "user_id": "x:{user_id}"}}
            for tier, name in zip(apps["apps"][1]["tiers"], ("free", "patron"), strict=True):
                tier |= {"id": name, "limits": {"rpm_limit": 7}}

        write_apps(tmp_path, add)
        await running.application.reload()
        await until(lambda: made("added-later"), "the budget of an app that is added is made at the reload")
