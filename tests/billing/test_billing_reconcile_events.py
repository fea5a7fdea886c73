"""Events that no webhook brought, and outages that outlive them: the inbox is filled, or the full pass heals."""

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers.harness import DAY, Harness
from sqlalchemy import Connection, func, select

from gateway.billing.events.missed import CURSOR, OVERLAP_SECONDS, fill_inbox
from gateway.billing.reconcile.reconcile import reconcile
from gateway.billing.reconcile.schedule import RECONCILED_AT, _next_pass_at, try_fill, try_pass
from gateway.billing.reconcile.state import ReconcileOptions
from gateway.billing.work.rate_limiter import RateLimiter
from gateway.errors import UpstreamFailed
from gateway.settings import Secret
from gateway.store import inbox, instance
from gateway.store.schema import inbox as inbox_table
from gateway.stripe.client import Stripe
from gateway.stripe.event_types import SUBSCRIBED
from gateway.stripe.transport import Transport


@pytest.fixture(autouse=True)
def _at_once(harness: Harness) -> None:
    harness.billing.reconciling.pace = RateLimiter(1e9)


async def cursor(harness: Harness) -> str | None:
    return await harness.query(lambda conn: instance.get(conn, CURSOR))


async def received(harness: Harness) -> set[str]:
    return await harness.query(lambda conn: set(conn.execute(select(inbox_table.c.event_id)).scalars()))


def count(conn: Connection) -> int:
    return conn.execute(select(func.count()).select_from(inbox_table)).scalar_one()


async def outage(harness: Harness, days: int) -> None:
    """u1 pays throughout, u2 cancels and u3 buys, and no webhook comes for so many days."""
    await fill_inbox(harness.billing)
    await harness.subscribed("u1", "pro")
    leaving = await harness.subscribed("u2", "pro")
    harness.move(DAY)
    harness.stripe.cancel(leaving)
    await harness.buy("u3", "enterprise")
    harness.move((days - 1) * DAY)
    harness.events()
    assert [await harness.tier(user_id) for user_id in ("u1", "u2", "u3")] == ["pro", "pro", "free"]


async def healed(harness: Harness) -> bool:
    await harness.settle()
    return [await harness.tier(user_id) for user_id in ("u1", "u2", "u3")] == ["pro", "free", "enterprise"]


async def test_five_days_without_webhooks_heal_by_the_events(harness: Harness) -> None:
    await outage(harness, 5)
    filled = await fill_inbox(harness.billing)
    assert filled.new > 0
    assert await healed(harness)
    assert (await reconcile(harness.billing, ReconcileOptions())).found == {}


async def test_forty_days_without_webhooks_heal_by_the_full_pass_alone(harness: Harness) -> None:
    await outage(harness, 40)
    await fill_inbox(harness.billing)
    assert not await healed(harness)  # the events of the first ten days are gone
    assert await try_pass(harness.billing, 0)
    assert await healed(harness)
    assert (await reconcile(harness.billing, ReconcileOptions())).found == {}


async def test_an_event_is_recorded_as_a_webhook_would_be(harness: Harness) -> None:
    await harness.subscribed("u1", "pro")
    subscription_id = await harness.buy("u2", "pro")
    lost = [event for event in harness.events() if event["data"]["object"]["id"] == subscription_id]
    await fill_inbox(harness.billing)
    found = await harness.query(lambda conn: inbox.get(conn, "", lost[0]["id"]))
    assert found is not None
    assert (found.type, found.customer_id) == ("customer.subscription.created", await harness.customer_id("u2"))
    assert json.loads(found.body)["data"]["object"]["id"] == subscription_id
    await harness.settle()
    shown = await harness.query(lambda conn: inbox.recent(conn, 50, "skai", "u2"))
    assert lost[0]["id"] in {event.event_id for event in shown}


async def test_events_in_the_old_shape_are_read_too(harness: Harness) -> None:
    harness.stripe.shape = "2024"
    await harness.buy("u1", "pro")
    harness.events()
    await fill_inbox(harness.billing)
    await harness.settle()
    assert await harness.tier("u1") == "pro"


async def test_what_a_webhook_brought_is_not_recorded_twice(harness: Harness) -> None:
    await harness.subscribed("u1", "pro")
    await fill_inbox(harness.billing)
    before = await harness.query(count)
    assert (await fill_inbox(harness.billing)).new == 0
    assert await harness.query(count) == before


async def test_only_types_that_the_endpoint_is_subscribed_to_are_fetched(harness: Harness) -> None:
    await harness.subscribed("u1", "pro")
    kinds = {event["type"] for event in harness.stripe.state.all("event")}
    assert "customer.created" in kinds
    await harness.store.write(lambda conn: conn.execute(inbox_table.delete()))
    await fill_inbox(harness.billing)
    stored = await harness.query(lambda conn: set(conn.execute(select(inbox_table.c.type)).scalars()))
    assert stored == kinds & set(SUBSCRIBED)
    assert max(len(request.params["types"]) for request in harness.requests("GET", "/v1/events")) <= 20


def test_the_types_are_those_that_the_sop_subscribes_to() -> None:
    sop = (Path(__file__).parents[2] / "SOP.md").read_text(encoding="utf-8")
    block = re.search(r"```text\n\s*(checkout\.session\.completed.*?)```", sop, re.DOTALL)
    assert block is not None
    assert set(SUBSCRIBED) == set(block[1].split())


async def test_the_next_fill_begins_a_quarter_of_an_hour_before_the_last_one(harness: Harness) -> None:
    await fill_inbox(harness.billing)
    began_at = harness.billing.work.now()
    assert await cursor(harness) == str(began_at)
    harness.move(3600)
    harness.forget_requests()
    await fill_inbox(harness.billing)
    assert {request.params["created"]["gte"] for request in harness.requests("GET", "/v1/events")} == {
        str(began_at - OVERLAP_SECONDS)
    }


async def test_more_than_a_page_of_events_is_read(harness: Harness) -> None:
    await fill_inbox(harness.billing)
    harness.move(3600)
    subscription = harness.stripe.state.objects["subscription"][await harness.buy("u1", "pro")]
    for _ in range(230):
        harness.stripe.emit("customer.subscription.updated", subscription)
    lost = {event["id"] for event in harness.events() if event["type"] in SUBSCRIBED}
    await fill_inbox(harness.billing)
    assert len(lost) > 230
    assert lost <= await received(harness)


async def failing_second_page(harness: Harness, monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Any]) -> None:
    """230 events wait, and Stripe's second page of them is `answer()`."""
    await fill_inbox(harness.billing)
    harness.move(3600)
    subscription = harness.stripe.state.objects["subscription"][await harness.buy("u1", "pro")]
    for _ in range(230):
        harness.stripe.emit("customer.subscription.updated", subscription)
    get = Transport.get

    async def broken(self: Transport, path: str, params: Any = None) -> Any:
        second = path == "/v1/events" and (params or {}).get("starting_after")
        return answer() if second else await get(self, path, params)

    monkeypatch.setattr(Transport, "get", broken)


def refusal() -> Any:
    raise UpstreamFailed("Stripe cannot be reached.")


def hole() -> Any:
    return {"object": "list", "data": [], "has_more": True}


@pytest.mark.parametrize("answer", [refusal, hole])
async def test_a_page_that_fails_keeps_the_cursor(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Any]
) -> None:
    with monkeypatch.context() as broken:
        await failing_second_page(harness, broken, answer)
        before = await cursor(harness)
        with pytest.raises(UpstreamFailed):
            await fill_inbox(harness.billing)
        assert await cursor(harness) == before
    lost = {event["id"] for event in harness.events() if event["type"] in SUBSCRIBED}
    assert not lost <= await received(harness)
    await fill_inbox(harness.billing)
    assert lost <= await received(harness)


async def test_what_is_no_event_keeps_no_other_out(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    await harness.buy("u1", "pro")
    lost = {event["id"] for event in harness.events() if event["type"] in SUBSCRIBED}
    get = Transport.get

    async def spoiled(self: Transport, path: str, params: Any = None) -> Any:
        page = await get(self, path, params)
        return {**page, "data": [{"id": "evt_x", "object": "riddle"}, *page["data"]]} if path == "/v1/events" else page

    monkeypatch.setattr(Transport, "get", spoiled)
    await fill_inbox(harness.billing)
    assert lost <= await received(harness)


async def test_another_accounts_key_does_not_move_the_cursor(harness: Harness) -> None:
    await harness.subscribed("u1", "pro")
    harness.move(DAY)
    harness.stripe.state.objects["customer"].clear()
    with pytest.raises(UpstreamFailed):
        await fill_inbox(harness.billing)
    assert await cursor(harness) is None


async def test_a_key_known_to_be_another_accounts_asks_nothing(harness: Harness) -> None:
    harness.billing.account.wrong = True
    harness.forget_requests()
    with pytest.raises(UpstreamFailed):
        await fill_inbox(harness.billing)
    assert harness.requests("GET", "/v1/") == []


async def test_a_refused_key_raises_an_alert_at_once_and_a_good_one_resolves_it(harness: Harness) -> None:
    good = harness.billing.stripe
    harness.billing.stripe = Stripe(Transport(harness.http, (Secret("sk_test_nobodys"),), api_base=harness.stripe_url))
    assert not await try_fill(harness.billing, 0)
    assert ("reconcile_failing", "events") in await harness.alerts()
    harness.billing.stripe = good
    assert await try_fill(harness.billing, 1)
    assert await harness.alerts() == set()


async def test_an_outage_raises_an_alert_only_when_it_lasts(harness: Harness) -> None:
    harness.stripe.fault("status", "/v1/events", "GET", times=99, status=500)
    for failures in range(4):
        assert not await try_fill(harness.billing, failures)
    assert await harness.alerts() == set()
    assert not await try_fill(harness.billing, 4)
    assert await harness.alerts() == {("reconcile_failing", "events")}


async def test_the_daily_pass_stops_at_a_wave_and_says_so_until_it_is_over(harness: Harness) -> None:
    for number in range(7):
        await harness.subscribed(f"u{number}", "pro")
    for each in harness.stripe.state.all("subscription")[:6]:
        harness.stripe.cancel(each["id"])
    harness.events()
    assert await try_pass(harness.billing, 0)
    assert await harness.alerts() == {("reconcile_stopped", "full pass")}
    await harness.settle()
    assert await harness.tier("u0") == "pro"
    await reconcile(harness.billing, ReconcileOptions(apply=True, yes=True))
    await harness.settle()
    assert await try_pass(harness.billing, 0)
    assert await harness.alerts() == set()


async def test_the_pass_is_due_a_day_after_the_last_one(harness: Harness) -> None:
    assert await _next_pass_at(harness.billing.work) == 0  # never yet
    await try_pass(harness.billing, 0)
    ran_at = harness.billing.work.now()
    assert await harness.query(lambda conn: instance.get(conn, RECONCILED_AT)) == str(ran_at)
    assert ran_at + 0.8 * DAY < await _next_pass_at(harness.billing.work) < ran_at + 1.2 * DAY


async def test_the_pass_is_due_at_once_after_an_absence_that_outlived_the_events(harness: Harness) -> None:
    await try_fill(harness.billing, 0)
    await try_pass(harness.billing, 0)
    harness.move(31 * DAY)
    # A day has long passed, so only an answer of 0 says "at once, whatever the jitter".
    assert await _next_pass_at(harness.billing.work) == 0
    await try_pass(harness.billing, 0)
    assert await _next_pass_at(harness.billing.work) > harness.billing.work.now()


async def test_turns_are_spread_evenly() -> None:
    pace = RateLimiter(50)
    began_at = asyncio.get_running_loop().time()
    for _ in range(6):
        await pace.wait()
    assert asyncio.get_running_loop().time() - began_at >= 5 / 50
