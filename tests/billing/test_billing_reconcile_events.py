"""Events that no webhook brought, and outages that outlive them: the inbox is filled, or the full pass heals."""

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers.world import DAY, World
from sqlalchemy import Connection, func, select

from gateway.billing.missed_events import CURSOR, OVERLAP_SECONDS, TYPES, fill_inbox
from gateway.billing.pace import Pace
from gateway.billing.reconcile import reconcile
from gateway.billing.reconcile_job import RECONCILED_AT, _next_pass_at, try_fill, try_pass
from gateway.billing.reconciling import Asked
from gateway.errors import UpstreamFailed
from gateway.settings import Secret
from gateway.store import inbox, instance
from gateway.store.schema import inbox as inbox_table
from gateway.stripe.client import Stripe


@pytest.fixture(autouse=True)
def _at_once(world: World) -> None:
    world.billing.reconciling.pace = Pace(1e9)


async def cursor(world: World) -> str | None:
    return await world.query(lambda conn: instance.get(conn, CURSOR))


async def received(world: World) -> set[str]:
    return await world.query(lambda conn: set(conn.execute(select(inbox_table.c.event_id)).scalars()))


def count(conn: Connection) -> int:
    return conn.execute(select(func.count()).select_from(inbox_table)).scalar_one()


async def outage(world: World, days: int) -> None:
    """u1 pays throughout, u2 cancels and u3 buys, and no webhook comes for so many days."""
    await fill_inbox(world.billing)
    await world.subscribed("u1", "pro")
    leaving = await world.subscribed("u2", "pro")
    world.move(DAY)
    world.stripe.cancel(leaving)
    await world.buy("u3", "enterprise")
    world.move((days - 1) * DAY)
    world.events()
    assert [await world.tier(user_id) for user_id in ("u1", "u2", "u3")] == ["pro", "pro", "free"]


async def healed(world: World) -> bool:
    await world.settle()
    return [await world.tier(user_id) for user_id in ("u1", "u2", "u3")] == ["pro", "free", "enterprise"]


async def test_five_days_without_webhooks_heal_by_the_events(world: World) -> None:
    await outage(world, 5)
    filled = await fill_inbox(world.billing)
    assert filled.new > 0
    assert await healed(world)
    assert (await reconcile(world.billing, Asked())).found == {}


async def test_forty_days_without_webhooks_heal_by_the_full_pass_alone(world: World) -> None:
    await outage(world, 40)
    await fill_inbox(world.billing)
    assert not await healed(world)  # the events of the first ten days are gone
    assert await try_pass(world.billing, 0)
    assert await healed(world)
    assert (await reconcile(world.billing, Asked())).found == {}


async def test_an_event_is_recorded_as_a_webhook_would_be(world: World) -> None:
    await world.subscribed("u1", "pro")
    subscription_id = await world.buy("u2", "pro")
    lost = [event for event in world.events() if event["data"]["object"]["id"] == subscription_id]
    await fill_inbox(world.billing)
    found = await world.query(lambda conn: inbox.get(conn, "", lost[0]["id"]))
    assert found is not None
    assert (found.type, found.customer_id) == ("customer.subscription.created", await world.customer_id("u2"))
    assert json.loads(found.body)["data"]["object"]["id"] == subscription_id
    await world.settle()
    shown = await world.query(lambda conn: inbox.recent(conn, 50, "skai", "u2"))
    assert lost[0]["id"] in {event.event_id for event in shown}


async def test_events_in_the_old_shape_are_read_too(world: World) -> None:
    world.stripe.shape = "2024"
    await world.buy("u1", "pro")
    world.events()
    await fill_inbox(world.billing)
    await world.settle()
    assert await world.tier("u1") == "pro"


async def test_what_a_webhook_brought_is_not_recorded_twice(world: World) -> None:
    await world.subscribed("u1", "pro")
    await fill_inbox(world.billing)
    before = await world.query(count)
    assert (await fill_inbox(world.billing)).new == 0
    assert await world.query(count) == before


async def test_only_types_that_the_endpoint_is_subscribed_to_are_fetched(world: World) -> None:
    await world.subscribed("u1", "pro")
    kinds = {event["type"] for event in world.stripe.world.all("event")}
    assert "customer.created" in kinds
    await world.store.write(lambda conn: conn.execute(inbox_table.delete()))
    await fill_inbox(world.billing)
    stored = await world.query(lambda conn: set(conn.execute(select(inbox_table.c.type)).scalars()))
    assert stored == kinds & set(TYPES)
    assert max(len(seen.params["types"]) for seen in world.asked("GET", "/v1/events")) <= 20


def test_the_types_are_those_that_the_sop_subscribes_to() -> None:
    sop = (Path(__file__).parents[2] / "SOP.md").read_text(encoding="utf-8")
    block = re.search(r"```text\n\s*(checkout\.session\.completed.*?)```", sop, re.DOTALL)
    assert block is not None
    assert set(TYPES) == set(block[1].split())


async def test_the_next_fill_begins_a_quarter_of_an_hour_before_the_last_one(world: World) -> None:
    await fill_inbox(world.billing)
    began_at = world.billing.now()
    assert await cursor(world) == str(began_at)
    world.move(3600)
    world.forget_requests()
    await fill_inbox(world.billing)
    assert {seen.params["created"]["gte"] for seen in world.asked("GET", "/v1/events")} == {
        str(began_at - OVERLAP_SECONDS)
    }


async def test_more_than_a_page_of_events_is_read(world: World) -> None:
    await fill_inbox(world.billing)
    world.move(3600)
    subscription = world.stripe.world.objects["subscription"][await world.buy("u1", "pro")]
    for _ in range(230):
        world.stripe.emit("customer.subscription.updated", subscription)
    lost = {event["id"] for event in world.events() if event["type"] in TYPES}
    await fill_inbox(world.billing)
    assert len(lost) > 230
    assert lost <= await received(world)


async def failing_second_page(world: World, monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Any]) -> None:
    """230 events wait, and Stripe's second page of them is `answer()`."""
    await fill_inbox(world.billing)
    world.move(3600)
    subscription = world.stripe.world.objects["subscription"][await world.buy("u1", "pro")]
    for _ in range(230):
        world.stripe.emit("customer.subscription.updated", subscription)
    get = Stripe.get

    async def broken(self: Stripe, path: str, params: Any = None) -> Any:
        second = path == "/v1/events" and (params or {}).get("starting_after")
        return answer() if second else await get(self, path, params)

    monkeypatch.setattr(Stripe, "get", broken)


def refusal() -> Any:
    raise UpstreamFailed("Stripe cannot be reached.")


def hole() -> Any:
    return {"object": "list", "data": [], "has_more": True}


@pytest.mark.parametrize("answer", [refusal, hole])
async def test_a_page_that_fails_keeps_the_cursor(
    world: World, monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Any]
) -> None:
    with monkeypatch.context() as broken:
        await failing_second_page(world, broken, answer)
        before = await cursor(world)
        with pytest.raises(UpstreamFailed):
            await fill_inbox(world.billing)
        assert await cursor(world) == before
    lost = {event["id"] for event in world.events() if event["type"] in TYPES}
    assert not lost <= await received(world)
    await fill_inbox(world.billing)
    assert lost <= await received(world)


async def test_what_is_no_event_keeps_no_other_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.buy("u1", "pro")
    lost = {event["id"] for event in world.events() if event["type"] in TYPES}
    get = Stripe.get

    async def spoiled(self: Stripe, path: str, params: Any = None) -> Any:
        page = await get(self, path, params)
        return {**page, "data": [{"id": "evt_x", "object": "riddle"}, *page["data"]]} if path == "/v1/events" else page

    monkeypatch.setattr(Stripe, "get", spoiled)
    await fill_inbox(world.billing)
    assert lost <= await received(world)


async def test_another_accounts_key_does_not_move_the_cursor(world: World) -> None:
    await world.subscribed("u1", "pro")
    world.move(DAY)
    world.stripe.world.objects["customer"].clear()
    with pytest.raises(UpstreamFailed):
        await fill_inbox(world.billing)
    assert await cursor(world) is None


async def test_a_key_known_to_be_another_accounts_asks_nothing(world: World) -> None:
    world.billing.wrong_account = True
    world.forget_requests()
    with pytest.raises(UpstreamFailed):
        await fill_inbox(world.billing)
    assert world.asked("GET", "/v1/") == []


async def test_a_refused_key_raises_an_alert_at_once_and_a_good_one_resolves_it(world: World) -> None:
    good = world.billing.stripe
    world.billing.stripe = Stripe(world.http, (Secret("sk_test_nobodys"),), api_base=world.stripe_url)
    assert not await try_fill(world.billing, 0)
    assert ("reconcile_failing", "events") in await world.alerts()
    world.billing.stripe = good
    assert await try_fill(world.billing, 1)
    assert await world.alerts() == set()


async def test_an_outage_raises_an_alert_only_when_it_lasts(world: World) -> None:
    world.stripe.fault("status", "/v1/events", "GET", times=99, status=500)
    for failures in range(4):
        assert not await try_fill(world.billing, failures)
    assert await world.alerts() == set()
    assert not await try_fill(world.billing, 4)
    assert await world.alerts() == {("reconcile_failing", "events")}


async def test_the_daily_pass_stops_at_a_wave_and_says_so_until_it_is_over(world: World) -> None:
    for number in range(7):
        await world.subscribed(f"u{number}", "pro")
    for each in world.stripe.world.all("subscription")[:6]:
        world.stripe.cancel(each["id"])
    world.events()
    assert await try_pass(world.billing, 0)
    assert await world.alerts() == {("reconcile_stopped", "full pass")}
    await world.settle()
    assert await world.tier("u0") == "pro"
    await reconcile(world.billing, Asked(apply=True, yes=True))
    await world.settle()
    assert await try_pass(world.billing, 0)
    assert await world.alerts() == set()


async def test_the_pass_is_due_a_day_after_the_last_one(world: World) -> None:
    assert await _next_pass_at(world.billing) == 0  # never yet
    await try_pass(world.billing, 0)
    ran_at = world.billing.now()
    assert await world.query(lambda conn: instance.get(conn, RECONCILED_AT)) == str(ran_at)
    assert ran_at + 0.8 * DAY < await _next_pass_at(world.billing) < ran_at + 1.2 * DAY


async def test_the_pass_is_due_at_once_after_an_absence_that_outlived_the_events(world: World) -> None:
    await try_fill(world.billing, 0)
    await try_pass(world.billing, 0)
    world.move(31 * DAY)
    # A day has long passed, so only an answer of 0 says "at once, whatever the jitter".
    assert await _next_pass_at(world.billing) == 0
    await try_pass(world.billing, 0)
    assert await _next_pass_at(world.billing) > world.billing.now()


async def test_turns_are_spread_evenly() -> None:
    pace = Pace(50)
    began_at = asyncio.get_running_loop().time()
    for _ in range(6):
        await pace.turn()
    assert asyncio.get_running_loop().time() - began_at >= 5 / 50
