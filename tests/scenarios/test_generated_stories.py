"""Random acts in random orders, compared with a model of a few lines of plain rules."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.catalog import parse
from gateway.errors import SkpayError
from gateway.sandbox.stories.delivery_order import DeliveryOrder
from gateway.sandbox.stories.player import DAY, StoryPlayer
from gateway.sandbox.stories.simulation import Simulation, open_simulation
from gateway.sandbox.story_failed import StoryFailedError

APP = parse((Path(__file__).parents[2] / "apps.json").read_bytes()).apps["skai"]
RANK_OF_AMOUNT = {2000: 1, 20_000: 2}  # what the rehearsal's Stripe charges for pro and for enterprise
PART = ("first", "paid", "higher", "given")

ACTS: dict[str, dict[str, Any]] = {
    "buy": {"do": "buy", "tier": "paid"},
    "buy the higher one": {"do": "buy", "tier": "higher"},
    "declined": {"do": "declined"},
    "upgrade": {"do": "change_plan", "tier": "higher"},
    "downgrade": {"do": "change_plan", "tier": "paid"},
    "renewal fails": {"do": "fail_renewal"},
    "collection paused": {"do": "pause_collection", "paused": True},
    "collection resumed": {"do": "pause_collection", "paused": False},
    "given up as uncollectible": {"do": "end_invoice", "how": "mark_uncollectible"},
    "invoices sent": {"do": "send_invoices", "days": 3},
    "credit": {"do": "give_credit", "invoices": 2},
    "pays the invoice": {"do": "pay_invoice"},
    "cancels": {"do": "portal", "action": "cancel"},
    "keeps": {"do": "portal", "action": "keep"},
    "cancels now": {"do": "portal", "action": "cancel_now"},
    "customer deleted": {"do": "delete_customer"},
    "a day": {"do": "wait", "days": 1},
    "a month": {"do": "wait", "days": 32},
    "grace": {"do": "wait", "grace": True},
    "Stripe fails": {"do": "stripe_fault", "effect": "status", "status": 500, "times": 3, "method": "GET"},
    "Stripe hangs up": {"do": "stripe_fault", "effect": "reset", "times": 2, "method": "GET"},
    "Stripe talks rubbish": {"do": "stripe_fault", "effect": "rubbish", "times": 2, "method": "GET"},
    "LiteLLM fails": {"do": "litellm_fault", "kind": "status", "times": 3},
    "LiteLLM's answer is lost": {"do": "litellm_fault", "kind": "lost", "times": 2},
}


def expected_part(stage: Simulation, customer_ids: set[str]) -> str:
    """The rule in plain words: what is active counts; what is past due counts for seven days from the oldest invoice
    that is owed since something was paid last, by whatever means.
    """
    state, now, best = stage.stripe.snapshot(), stage.stripe.state.time(), 0
    for subscription in state["subscription"]:
        if subscription["customer"] not in customer_ids:
            continue
        rank = RANK_OF_AMOUNT[subscription["items"]["data"][0]["price"]["unit_amount"]]
        invoices = [
            invoice
            for invoice in state["invoice"]
            if invoice["parent"]["subscription_details"]["subscription"] == subscription["id"]
        ]
        paid = [i for i in invoices if i["status"] == "paid" and i["total"] > 0]
        since = [
            i["due_date"] or i["status_transitions"]["finalized_at"]
            for i in invoices
            if paid and i["created"] >= paid[-1]["created"]
            if i["status"] == "open"
            or (i["status"] in ("uncollectible", "void") and (i["attempt_count"] or i["due_date"]))
        ] or [max(line["period"]["end"] for line in i["lines"]["data"]) for i in paid[-1:]]
        in_grace = bool(paid) and min(since) + 7 * DAY > now
        if (subscription["pause_collection"] or {}).get("behavior") == "void":
            continue
        if subscription["status"] in ("active", "trialing") or (subscription["status"] == "past_due" and in_grace):
            best = max(best, rank)
    return PART[best]


class Stage:
    """One event loop and one rehearsal for all examples."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.runner.run(self._open())

    async def _open(self) -> None:
        catalog = parse((Path(__file__).parents[2] / "apps.json").read_bytes())
        self.rehearsal = await self.stack.enter_async_context(open_simulation(catalog))
        self.session = await self.stack.enter_async_context(aiohttp.ClientSession())

    def close(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()

    async def play(self, acts: list[str], number: int, copies: int) -> None:
        player = StoryPlayer(self.rehearsal, APP, DeliveryOrder(number, copies), self.session)
        try:
            for place, name in enumerate(acts):
                # Not every act is possible for every user: one without a subscription cannot cancel it.
                with suppress(StoryFailedError, SkpayError):
                    await player.do(ACTS[name])
                await player.deliver_pending()
                part = expected_part(self.rehearsal, player.customer_ids())
                try:
                    await player.expect({"tier": part})
                except StoryFailedError as exc:
                    raise AssertionError(f"after {acts[: place + 1]}: {exc}") from exc
        finally:
            await player.leave()


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    opened = Stage()
    yield opened
    opened.close()


@given(
    acts=st.lists(st.sampled_from(sorted(ACTS)), min_size=2, max_size=9),
    number=st.integers(0, 50),
    copies=st.integers(1, 2),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_story_ends_as_the_plain_rules_say(stage: Stage, acts: list[str], number: int, copies: int) -> None:
    stage.runner.run(stage.play(acts, number, copies))


def test_each_act_alone_ends_as_the_plain_rules_say(stage: Stage) -> None:
    """Most are impossible for a user who has never been to a checkout."""
    for name in sorted(ACTS):
        stage.runner.run(stage.play([name], 0, 1))
