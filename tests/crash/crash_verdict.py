"""The expected state once all work is done, derived from Stripe's objects by a rule of a few lines."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from itertools import pairwise
from typing import Any

import aiohttp
import jwt
from servers.crash_stage import CrashStage, Notice
from servers.running import GATE_SECRET, LITELLM_KEY, SESSION_SECRET, SKAI_KEY

SEEN_SECONDS = 20.0
BUDGETS = {"free": 1.0, "pro": 10.0, "enterprise": 50.0}
_RANKS = {None: "free", "skai_pro_month": "pro", "skai_enterprise_month": "enterprise"}


def tiers_by_stripe(stage: CrashStage, user_ids: list[str]) -> dict[str, str]:
    """A user with a subscription that is active, or past due for minutes, has its price's tier; all others are free."""
    state = stage.stripe.snapshot()
    owners = {each["id"]: each["metadata"].get("user_id") for each in state["customer"]}
    tiers = dict.fromkeys(user_ids, "free")
    for each in state["subscription"]:
        if each["status"] in ("active", "past_due"):
            tiers[owners[each["customer"]]] = _RANKS[each["items"]["data"][0]["price"]["lookup_key"]]
    return tiers


async def visit_all_users(stage: CrashStage, session: aiohttp.ClientSession, user_ids: list[str]) -> None:
    """Each of them calls the gate: a user without a purchase gets the first tier's limits by that (T3)."""
    deadline = time.monotonic() + SEEN_SECONDS
    for user_id in user_ids:
        await _tag(stage, session, user_id)
    for user_id in user_ids:
        while await _budget(stage, session, user_id) is None:
            assert time.monotonic() < deadline, f"LiteLLM never got {user_id}"
            await asyncio.sleep(0.02)


async def tags(stage: CrashStage, session: aiohttp.ClientSession, user_ids: list[str]) -> dict[str, str]:
    """The tier that the gate tags each of them with now."""
    return {user_id: await _tag(stage, session, user_id) for user_id in user_ids}


async def problems(stage: CrashStage, session: aiohttp.ClientSession, user_ids: list[str]) -> list[str]:
    """Every difference from the expected state. Every user has been at the gate, and no work waits."""
    found: list[str] = []
    for user_id, tier in tiers_by_stripe(stage, user_ids).items():
        for where, notices in (
            ("/status", await _status(stage, session, user_id)),
            ("the gate", await _tag(stage, session, user_id)),
        ):
            if notices != tier:
                found.append(f"{user_id}: Stripe holds {tier}, {where} says {notices}")
        budget = await _budget(stage, session, user_id)
        if budget != BUDGETS[tier]:
            found.append(f"{user_id}: Stripe holds {tier}, LiteLLM lets them spend {budget}")
    with contextlib.closing(stage.connect()) as conn:
        inbox = {event_id for (event_id,) in conn.execute("SELECT event_id FROM inbox")}
        changes = conn.execute(
            "SELECT change_id, user_id, from_tier, to_tier FROM tier_changes ORDER BY change_number"
        ).fetchall()
    found += [f"acknowledged, not in the inbox: {event_id}" for event_id in sorted(stage.acknowledged - inbox)]
    return found + notice_problems(stage.saw.notices, changes)


def notice_problems(notices: list[Notice], changes: list[tuple[str, str, str | None, str]]) -> list[str]:
    """An app that deduplicates by id has each change once, in order for each user."""
    found: list[str] = []
    first: dict[str, Notice] = {}
    for notice in notices:
        if first.setdefault(notice.webhook_id, notice).body != notice.body:
            found.append(f"two bodies under the webhook-id {notice.webhook_id}")
    received: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for notice in first.values():
        data = notice.data
        received[data["user_id"]].append((data["from"], data["to"]))
    happened: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for _, user_id, before, after in changes:
        happened[user_id].append((before, after))
    announced = [notice.data["change_id"] for notice in first.values()]
    found += [f"announced under two ids: {each}" for each in set(announced) if announced.count(each) > 1]
    for user_id in happened.keys() | received.keys():
        if received[user_id] != happened[user_id]:
            found.append(f"{user_id}: the app heard {received[user_id]}, what happened is {happened[user_id]}")
        steps = received[user_id]
        for (_, after), (before, _) in pairwise(steps):
            if after != before:
                found.append(f"{user_id}: the app heard of a change to {after}, then of one from {before}")
    return found


async def _status(stage: CrashStage, session: aiohttp.ClientSession, user_id: str) -> str:
    url = f"http://127.0.0.1:{stage.port}/status/skai/{user_id}"
    async with session.get(url, headers={"Authorization": f"Bearer {SKAI_KEY}"}) as answer:
        return str((await answer.json())["tier"])


async def _tag(stage: CrashStage, session: aiohttp.ClientSession, user_id: str) -> str:
    token = jwt.encode({"id": user_id, "exp": int(time.time()) + 3600}, SESSION_SECRET, "HS256")
    headers = {
        "X-SK-Gate": GATE_SECRET, "X-Forwarded-Host": "chat.example.com", "X-Forwarded-Uri": "/",
        "X-Forwarded-Method": "GET", "Cookie": f"token={token}",
    }  # fmt: skip
    async with session.get(f"http://127.0.0.1:{stage.gate_port}/gate?app=skai", headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.headers["X-SK-User"] == user_id
        return answer.headers["X-SK-Tier"]


async def _budget(stage: CrashStage, session: aiohttp.ClientSession, user_id: str) -> float | None:
    """The customer's budget by LiteLLM's own answer."""
    url = f"{stage.environ['LITELLM_URL']}/customer/info"
    headers = {"Authorization": f"Bearer {LITELLM_KEY}"}
    async with session.get(url, params={"end_user_id": user_id}, headers=headers) as answer:
        if answer.status != 200:
            return None
        row = await answer.json()
        return float(row["litellm_budget_table"]["max_budget"])
