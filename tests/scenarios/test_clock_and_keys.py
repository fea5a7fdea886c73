"""Neither time alone nor a moved lookup key nor a lost database ends a paying user's tier."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from gateway.billing.checkout.prices import resolve_prices
from gateway.billing.refresh.refresh import MAX_TIMER_SECONDS
from gateway.billing.refresh.status import explain
from gateway.catalog import parse
from gateway.sandbox.stories.delivery_order import DeliveryOrder
from gateway.sandbox.stories.player import DAY, StoryPlayer
from gateway.sandbox.stories.simulation import Simulation, open_simulation
from gateway.store import customers
from gateway.store.schema import entitlements, prices

SHIPPED = parse((Path(__file__).parents[2] / "apps.json").read_bytes())
APP = SHIPPED.apps["skai"]


@pytest.fixture
async def stage() -> AsyncIterator[Simulation]:
    async with open_simulation(SHIPPED) as opened:
        yield opened


@pytest.fixture
async def person(stage: Simulation) -> AsyncIterator[StoryPlayer]:
    async with aiohttp.ClientSession() as session:
        yield StoryPlayer(stage, APP, DeliveryOrder(0), session)


async def _move_lookup_key(stage: Simulation) -> None:
    """A new price of the same product takes the lookup key, as an operator raises a price."""
    old = next(each for each in stage.stripe.snapshot()["price"] if each["lookup_key"] == "skai_pro_month")
    await stage.billing.stripe.transport.post(
        "/v1/prices",
        {
            "product": old["product"], "currency": "usd", "unit_amount": 2500, "recurring": {"interval": "month"},
            "lookup_key": "skai_pro_month", "transfer_lookup_key": True,
        },
    )  # fmt: skip


async def test_t15_subscribers_of_the_old_price_keep_the_tier(stage: Simulation, person: StoryPlayer) -> None:
    await person.do({"do": "buy", "tier": "paid"})
    await person.do({"expect": {"tier": "paid"}})
    await _move_lookup_key(stage)
    await resolve_prices(stage.billing)
    await person.do({"do": "refresh"})
    await person.do({"expect": {"tier": "paid", "status": "active"}})


async def test_t15_even_with_the_database_empty(stage: Simulation, person: StoryPlayer) -> None:
    await person.do({"do": "buy", "tier": "paid"})
    await person.do({"expect": {"tier": "paid"}})
    await _move_lookup_key(stage)
    billing = stage.billing

    def lose_everything_but_the_customer(conn: object) -> None:
        conn.execute(entitlements.delete())  # type: ignore[attr-defined]
        conn.execute(prices.delete())  # type: ignore[attr-defined]
        assert customers.newest(conn) is not None  # type: ignore[arg-type]

    await billing.work.store.write(lose_everything_but_the_customer)
    stage.received_notices.clear()  # the notices from before the loss are sent again
    billing.prices.known_prices, billing.prices.known_products, billing.prices.complete = {}, {}, False
    billing.prices.resolved.clear()
    await person.do({"do": "refresh"})
    await person.do({"expect": {"tier": "paid", "status": "active"}})


async def test_t20_time_alone_ends_no_tier_while_stripe_is_down(stage: Simulation, person: StoryPlayer) -> None:
    """They canceled, then changed their mind; the event is lost and Stripe is unreachable for two days."""
    await person.do({"do": "buy", "tier": "paid"})
    await person.do({"do": "portal", "action": "cancel"})
    await person.do({"expect": {"tier": "paid", "ends": True}})
    await person.do({"do": "portal", "action": "keep"})
    await person.do({"do": "lose_events"})
    stage.stripe.fault("status", times=1_000_000)
    for _ in range(32):  # two days and a bit past the end of the period
        stage.stripe.advance(DAY)
        await stage.work_once()
    await person.expect({"tier": "paid"})
    stage.stripe.faults.clear()
    await person.do({"expect": {"tier": "paid", "status": "active", "ends": False}})


async def test_t20_but_not_for_longer_than_72_hours(stage: Simulation, person: StoryPlayer) -> None:
    await person.do({"do": "buy", "tier": "paid"})
    await person.do({"do": "portal", "action": "cancel"})
    await person.do({"expect": {"tier": "paid", "ends": True}})
    stage.stripe.fault("status", times=1_000_000)
    for _ in range(34):
        stage.stripe.advance(DAY)
        await stage.work_once()
    await person.expect({"tier": "first"})


async def test_t20_a_grant_ends_on_time_during_any_outage(stage: Simulation, person: StoryPlayer) -> None:
    await person.do({"do": "open_checkout", "tier": "paid"})
    await person.do({"do": "grant", "tier": "given", "days": 3})
    await person.do({"expect": {"tier": "given"}})
    stage.stripe.fault("status", times=1_000_000)
    stage.stripe.advance(3 * DAY + 60)
    await stage.work_once()
    await person.expect({"tier": "first"})


async def test_explain_shows_the_next_refresh_and_concerns(stage: Simulation, person: StoryPlayer) -> None:
    await person.do({"do": "buy", "tier": "paid"})
    await person.do({"expect": {"tier": "paid"}})
    explained = await explain(stage.billing.work, stage.billing.apps, "skai", person.user_id)
    assert (explained["refresh"]["timer_at"], explained["concerns"]) == (None, [])  # type: ignore[index]
    await person.do({"do": "portal", "action": "cancel"})
    await person.do({"expect": {"tier": "paid", "ends": True}})
    explained = await explain(stage.billing.work, stage.billing.apps, "skai", person.user_id)
    # A month of 31 days ends beyond the longest timer.
    longest = stage.billing.work.now() + MAX_TIMER_SECONDS
    expected = min(explained["ends_at"] - 5, longest)  # type: ignore[operator]
    assert 0 <= expected - explained["refresh"]["timer_at"] <= 60  # type: ignore[index]
    await person.do({"do": "portal", "action": "keep"})
    await person.do({"do": "second_subscription"})
    await person.do({"expect": {"tier": "paid"}})
    explained = await explain(stage.billing.work, stage.billing.apps, "skai", person.user_id)
    assert [each["kind"] for each in explained["concerns"]] == ["duplicate_subscription"]  # type: ignore[attr-defined]
