"""What Stripe holds now decides, whatever came when: order, repetition, and everything that goes wrong in between."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from servers.world import DAY, OWNER, START, World, until

from gateway.billing import grants
from gateway.billing.refresh import LEASE_SECONDS, refresh
from gateway.billing.route_events import route_events
from gateway.sandbox.stripe.billing import cancel_later, start
from gateway.store import customers, entitlements, refreshes
from gateway.store.refreshes import Pending

Order = Callable[[list[Any]], list[Any]]
ORDERS: dict[str, Order] = {
    "as born": list,
    "reversed": lambda events: events[::-1],
    "each twice": lambda events: [event for event in events for _ in range(2)],
    "shuffled": lambda events: random.Random(7).sample(events, len(events)),  # noqa: S311  # no secret: an order
    "the last alone": lambda events: events[-1:],
    "twice over": lambda events: events + events,
}


async def pending(world: World, user_id: str = "u1") -> Pending:
    found = await world.query(lambda conn: refreshes.of_user(conn, "skai", user_id))
    assert found is not None
    return found


async def changes(world: World, user_id: str = "u1") -> list[tuple[str | None, str]]:
    found = await world.query(lambda conn: entitlements.changes(conn, "skai", user_id, 50))
    return [(each.from_tier, each.to_tier) for each in reversed(found)]


@pytest.mark.parametrize("order", ORDERS)
async def test_any_order_of_the_same_events_ends_the_same(world: World, order: str) -> None:
    subscription_id = await world.buy("u1")
    world.stripe.renew(subscription_id)
    world.stripe.fail_next_renewal(subscription_id)
    world.stripe.pay_open_invoice(subscription_id)
    bought = ORDERS[order](world.events())
    await world.deliver(bought)
    await world.settle()
    assert await world.tier("u1") == "pro"
    world.stripe.cancel(subscription_id)
    ended = world.events()
    await world.deliver(ORDERS[order](ended))
    await world.deliver(bought)  # late, and long out of date
    await world.settle()
    assert await world.tier("u1") == "free"
    assert await changes(world) == [(None, "pro"), ("pro", "free")]
    assert world.limits("u1") == {"budget_id": "skai.free", "max_budget": 1, "rpm_limit": 10}


async def test_all_events_of_one_purchase_cost_two_fetches_at_most(world: World) -> None:
    await world.buy("u1")
    events = world.events()
    assert len(events) >= 6
    world.forget_requests()
    await world.deliver(events[:4])
    await route_events(world.billing)
    await world.deliver(events[4:])
    await world.settle()
    assert 1 <= len(world.asked("GET", "/v1/subscriptions")) <= 2
    assert await world.tier("u1") == "pro"


async def test_an_event_during_the_fetch_is_not_lost(world: World) -> None:
    subscription_id = await world.buy("u1")
    await world.deliver()
    await route_events(world.billing)
    world.stripe.fault("slow", "/v1/subscriptions", seconds=0.2)
    [lease] = await world.lease()
    running = asyncio.create_task(refresh(world.billing, lease, OWNER))
    await until(lambda: bool(world.asked("GET", "/v1/subscriptions")), "the fetch begins")
    await world.post(next(event for event in world.stripe.world.all("event")[::-1]) | {"id": "evt_in_between"})
    await route_events(world.billing)
    await running
    assert (await pending(world)).wanted > (await pending(world)).done
    world.stripe.cancel(subscription_id)
    await world.settle()
    assert await world.tier("u1") == "free"


async def test_t22_a_lease_that_was_lost_writes_nothing(world: World) -> None:
    subscription_id = await world.subscribed("u1")
    world.stripe.cancel(subscription_id)
    await world.want("u1")
    [overslept] = await world.lease("sleeper")
    world.clock.now += LEASE_SECONDS
    [taken] = await world.lease("other")
    world.told.clear()
    await refresh(world.billing, overslept, "sleeper")
    assert await world.tier("u1") == "pro"
    assert world.told == []
    await refresh(world.billing, taken, "other")
    assert await world.tier("u1") == "free"


async def test_a_lease_that_ran_out_writes_nothing_though_nobody_took_it(world: World) -> None:
    subscription_id = await world.subscribed("u1")
    world.stripe.cancel(subscription_id)
    await world.want("u1")
    [overslept] = await world.lease()
    world.clock.now += LEASE_SECONDS
    await refresh(world.billing, overslept, OWNER)
    assert await world.tier("u1") == "pro"
    await world.settle()
    assert await world.tier("u1") == "free"


@pytest.mark.parametrize(
    "fault",
    [
        {"effect": "status", "status": 500},
        {"effect": "status", "status": 429},
        {"effect": "status", "status": 503},
        {"effect": "reset"},
        {"effect": "rubbish"},
        {"effect": "truncated"},
    ],
    ids=lambda fault: str(fault.get("status") or fault["effect"]),
)
async def test_while_stripe_fails_the_last_tier_stays_and_an_alert_tells(world: World, fault: dict[str, Any]) -> None:
    subscription_id = await world.subscribed("u1")
    world.stripe.cancel(subscription_id)
    await world.deliver()
    broken = world.stripe.fault(path="/v1/subscriptions", times=10_000, **fault)
    waits = []
    for failures in range(1, 7):
        assert await world.alerts() == (set() if failures <= 5 else {("refresh_failing", "skai/u1")})
        await world.settle()
        state = await pending(world)
        assert (state.attempts, await world.tier("u1")) == (failures, "pro")
        assert state.due_at is not None
        waits.append(state.due_at - world.billing.now())
        world.move(waits[-1])
    assert waits == [1, 2, 4, 8, 16, 32]
    assert (await pending(world)).last_error
    broken.times = 0
    await world.settle()
    assert await world.tier("u1") == "free"
    assert await world.alerts() == set()


async def test_a_wrong_key_lowers_nobody_and_is_told_at_once(world: World) -> None:
    await world.subscribed("u1")
    world.stripe.secret_keys.clear()
    await world.want("u1")
    await world.settle()
    assert await world.tier("u1") == "pro"
    assert await world.alerts() == {("refresh_failing", "skai/u1")}


async def test_t16_the_key_of_another_account_lowers_nobody(world: World) -> None:
    """There, each of our customers is "No such customer"."""
    await world.subscribed("u1")
    world.stripe.world.objects["customer"].clear()
    await world.want("u1")
    await world.settle()
    assert await world.tier("u1") == "pro"
    assert await world.alerts() == {("refresh_failing", "skai/u1")}


async def test_the_alert_closes_although_an_event_came_in_between(world: World) -> None:
    """An event clears the backoff, and with it the count of failures."""
    await world.subscribed("u1")
    key = set(world.stripe.secret_keys)
    world.stripe.secret_keys.clear()
    await world.want("u1")
    await world.settle()
    assert await world.alerts() == {("refresh_failing", "skai/u1")}
    world.stripe.secret_keys |= key
    await world.want("u1")
    await world.settle()
    assert await world.alerts() == set()


async def test_a_stripe_that_never_answers_is_given_up_before_the_lease_ends(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.subscribed("u1")
    monkeypatch.setattr("gateway.billing.refresh.FETCH_SECONDS", 0.05)
    world.stripe.fault("slow", "/v1/subscriptions", seconds=5)
    await world.want("u1")
    await world.settle()
    state = await pending(world)
    assert (state.attempts, state.last_error, await world.tier("u1")) == (1, "TimeoutError", "pro")


async def test_answers_that_are_no_subscriptions_change_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    subscription_id = await world.subscribed("u1")
    kept = world.stripe.world.objects["subscription"]
    for odd in ({"status": None}, {"items": {"data": ["si_1"]}}, {"id": ""}):
        real = dict(kept[subscription_id])
        with monkeypatch.context() as patched:
            patched.setitem(kept, subscription_id, {**real, **odd})
            patched.setattr("gateway.sandbox.stripe.api.rendered", lambda world, answer: answer)
            await world.want("u1")
            await world.settle()
        assert await world.tier("u1") == "pro"
        assert (await pending(world)).attempts == 1


async def test_a_failed_renewal_keeps_the_tier_for_the_grace_and_the_clock_ends_it(world: World) -> None:
    world.stripe.settings.after_dunning = "past_due"
    subscription_id = await world.subscribed("u1")
    world.move(31 * DAY)
    world.stripe.fail_next_renewal(subscription_id)
    failed_at = world.billing.now()
    await world.catch_up()
    seen = await world.status("u1")
    assert (seen["tier"], seen["status"], seen["reason"]) == ("pro", "past_due", "past_due_in_grace")
    assert (seen["until"], seen["then"]) == (failed_at + 7 * DAY, [{"at": failed_at + 7 * DAY, "tier": "free"}])
    assert (await pending(world)).due_at == failed_at + 7 * DAY - 5
    world.events()
    world.move(7 * DAY - 5)
    world.events()  # no webhook comes: the clock alone must do it
    await world.settle()
    assert await world.tier("u1") == "pro"
    world.move(6)
    await world.settle()
    seen = await world.status("u1")
    assert (seen["tier"], seen["reason"], seen["until"]) == ("free", "past_due_grace_over", None)
    assert world.limits("u1") == {"budget_id": "skai.free", "max_budget": 1, "rpm_limit": 10}


async def test_who_pays_within_the_grace_was_never_lowered(world: World) -> None:
    subscription_id = await world.subscribed("u1")
    world.move(31 * DAY)
    world.stripe.fail_next_renewal(subscription_id)
    await world.catch_up()
    world.move(2 * DAY)
    world.stripe.set_card(await world.customer_id("u1"), "ok")
    world.stripe.pay_open_invoice(subscription_id)
    await world.catch_up()
    seen = await world.status("u1")
    assert (seen["tier"], seen["status"], seen["until"]) == ("pro", "active", None)
    assert await changes(world) == [(None, "pro")]


async def test_a_lost_webhook_about_a_paid_invoice_cuts_nobody_off_at_the_end_of_grace(world: World) -> None:
    """T20: at the instant itself Stripe is asked once more."""
    subscription_id = await world.subscribed("u1")
    world.move(31 * DAY)
    world.stripe.fail_next_renewal(subscription_id)
    await world.catch_up()
    world.stripe.set_card(await world.customer_id("u1"), "ok")
    world.stripe.pay_open_invoice(subscription_id)
    world.events()  # lost
    world.move(8 * DAY)
    await world.settle()
    assert await world.tier("u1") == "pro"


async def test_a_cancellation_keeps_the_tier_until_it_ends(world: World) -> None:
    subscription_id = await world.subscribed("u1")
    ends_at = world.billing.now() + 10 * DAY
    subscription = world.stripe.world.find("subscription", subscription_id)
    cancel_later(world.stripe.world, subscription, ends_at, flag=False)
    await world.catch_up()
    seen = await world.status("u1")
    assert (seen["tier"], seen["ends_at"], seen["until"]) == ("pro", ends_at, ends_at)
    world.move(10 * DAY + 1)
    world.events()  # lost
    await world.settle()
    assert await world.tier("u1") == "free"


async def test_t22_two_customers_of_one_user_are_read_under_one_lease(world: World) -> None:
    first = await world.subscribed("u1", "pro")
    customer = world.stripe.world.objects["customer"][await world.customer_id("u1")]
    other = {**customer, "id": "cus_second"}
    world.stripe.world.add(other)
    await world.store.write(lambda conn: customers.add(conn, "skai", "u1", "cus_second", None, world.billing.now() + 1))
    world.stripe.world.cards["cus_second"] = "ok"
    start(world.stripe.world, "cus_second", [{"price": "price_123", "quantity": 1}], {})
    await world.catch_up()
    assert await world.tier("u1") == "enterprise"
    assert {kind for kind, _ in await world.alerts()} == {"duplicate_subscription"}
    world.stripe.cancel(first)
    await world.catch_up()
    assert await world.tier("u1") == "enterprise"
    assert await world.alerts() == set()


async def test_a_deleted_customer_ends_the_tier_and_may_come_back(world: World) -> None:
    await world.subscribed("u1")
    old = await world.customer_id("u1")
    async with world.http.delete(
        f"{world.stripe_url}/v1/customers/{old}", headers={"Authorization": "Bearer sk_test_1f0c7a"}
    ) as answer:
        assert answer.status == 200
    await world.catch_up()
    assert await world.tier("u1") == "free"
    await world.buy("u1")
    await world.catch_up()
    assert await world.customer_id("u1") != old
    assert await world.tier("u1") == "pro"


async def test_a_customer_whom_lists_no_longer_know_is_asked_for_by_name(world: World) -> None:
    """Only `deleted: true` proves a deletion; then the user is on the default tier, and the refresh ends."""
    await world.subscribed("u1")
    customer_id = await world.customer_id("u1")
    world.stripe.world.objects["customer"][customer_id] = {"id": customer_id, "object": "customer", "deleted": True}
    world.stripe.fault("status", "/v1/subscriptions", status=400, code="resource_missing")
    await world.want("u1")
    await world.settle()
    assert await world.tier("u1") == "free"
    assert await world.query(lambda conn: customers.of_user(conn, "skai", "u1")) == []
    assert await world.alerts() == set()


def move_lookup_key(
    world: World, lookup_key: str = "skai_pro_month", price_id: str = "price_pro_2", product_id: str = "prod_skai_pro"
) -> None:
    """What `transfer_lookup_key` does: a new price takes the key, the old one has none any more."""
    for price in world.stripe.world.all("price"):
        if price["lookup_key"] == lookup_key:
            price["lookup_key"] = None
    world.stripe.add_price(product_id, 2500, lookup_key=lookup_key, price_id=price_id)


async def test_t15_who_pays_the_old_price_keeps_the_tier_after_its_key_moved(world: World) -> None:
    await world.subscribed("u1")
    move_lookup_key(world)
    await world.restart()
    await world.want("u1")
    await world.settle()
    seen = await world.status("u1")
    assert (seen["tier"], seen["reason"], await world.alerts()) == ("pro", "active", set())


async def test_t15_a_key_that_moves_twice_while_somebody_is_at_the_checkout_costs_them_nothing(world: World) -> None:
    """Between the first and the second move only this checkout ever saw the price in the middle."""
    world.stripe.add_product("Pro, last season's", product_id="prod_in_between")
    move_lookup_key(world, price_id="price_pro_2", product_id="prod_in_between")
    link = await world.checkout("u1")
    move_lookup_key(world, price_id="price_pro_3")
    assert await world.click(link.url, action="pay") == 303
    await world.catch_up()
    assert await world.tier("u1") == "pro"
    assert await world.alerts() == set()


async def test_what_two_refreshes_learn_at_once_is_known_of_both(world: World) -> None:
    await world.edit(lambda apps: apps["apps"][0]["tiers"][1]["prices"].append({"lookup_key": "skai_pro_week"}))
    bought = {user_id: await world.subscribed(user_id) for user_id in ("u1", "u2")}
    for user_id, price_id, key in (("u1", "price_a", "skai_pro_month"), ("u2", "price_b", "skai_pro_week")):
        move_lookup_key(world, key, price_id)
        item = world.stripe.world.find("subscription", bought[user_id])["items"]["data"][0]
        item["price"] = price_id
        await world.want(user_id)
    world.billing.known_prices = {"skai": {}, "studio": {}}
    leases = await world.lease()
    assert len(leases) == 2
    await asyncio.gather(*(refresh(world.billing, lease, OWNER) for lease in leases))
    assert world.billing.known_prices["skai"].keys() >= {"price_a", "price_b"}


def pays_something_unknown(world: World, subscription_id: str) -> None:
    """As after a change in the Dashboard: a price of a product that apps.json does not name."""
    world.stripe.add_product("Special offer", product_id="prod_special")
    world.stripe.add_price("prod_special", 1234, price_id="price_unheard_of")
    world.stripe.world.find("subscription", subscription_id)["items"]["data"][0]["price"] = "price_unheard_of"


async def test_an_unknown_price_keeps_the_tier_and_alerts_until_it_is_known(world: World) -> None:
    subscription_id = await world.subscribed("u1")
    pays_something_unknown(world, subscription_id)
    await world.want("u1")
    await world.settle()
    seen = await world.status("u1")
    assert (seen["tier"], seen["reason"]) == ("pro", "kept_last_good_tier")
    assert await world.alerts() == {("unknown_price", subscription_id)}
    await world.edit(lambda apps: apps["apps"][0]["tiers"][1]["prices"].append({"price_id": "price_unheard_of"}))
    await world.want("u1")
    await world.settle()
    assert ((await world.status("u1"))["reason"], await world.alerts()) == ("active", set())


async def test_an_unknown_price_gives_what_was_paid_last_though_nobody_saw_it_paid(world: World) -> None:
    subscription_id = await world.buy("u1")
    pays_something_unknown(world, subscription_id)
    await world.catch_up()
    assert await world.tier("u1") == "pro"
    assert await world.alerts() == {("unknown_price", subscription_id)}


async def test_an_unknown_price_of_a_new_subscription_raises_nobody(world: World) -> None:
    subscription_id = await world.buy("u1")
    pays_something_unknown(world, subscription_id)
    for invoice in world.stripe.world.all("invoice"):
        for line in invoice["lines"]["data"]:
            line["pricing"]["price_details"] = {"price": "price_unheard_of", "product": "prod_special"}
    await world.catch_up()
    assert await world.tier("u1") == "free"
    assert await world.alerts() == {("unknown_price", subscription_id)}


async def give(world: World, tier: str) -> None:
    now = world.billing.now()
    await world.store.write(lambda conn: grants.give(conn, world.billing.catalog, "skai", "u1", tier, "-", None, now))
    await world.settle()
    await world.store.write(lambda conn: grants.take_back(conn, "skai", "u1", now))


async def pause_and_resume(world: World) -> None:
    [subscription] = world.stripe.world.all("subscription")
    subscription["status"] = "paused"
    await world.want("u1")
    await world.settle()
    subscription["status"] = "active"


async def dispute_and_win(world: World) -> None:
    [subscription] = world.stripe.world.all("subscription")
    for status in ("needs_response", "won"):
        world.stripe.dispute(subscription["id"], status)
        await world.catch_up()


async def renew_late(world: World) -> None:
    [subscription] = world.stripe.world.all("subscription")
    world.clock.now = subscription["items"]["data"][0]["current_period_end"] + 30
    world.stripe.world.quiet_until = math.inf
    await world.want("u1")
    await world.settle()
    world.stripe.renew(subscription["id"])


async def buy_and_end_another(world: World) -> None:
    [subscription] = world.stripe.world.all("subscription")
    params = {"customer": subscription["customer"], "items": [{"price": "price_123"}]}
    second = await world.billing.stripe.post("/v1/subscriptions", params)
    await world.catch_up()
    world.stripe.cancel(second["id"])


BETWEEN = {
    "a grant": partial(give, tier="sovereign"),
    "a pause": pause_and_resume,
    "a dispute": dispute_and_win,
    "a late renewal": renew_late,
    "a second subscription": buy_and_end_another,
}


@pytest.mark.parametrize("paid", [True, False], ids=["paid", "never paid"])
@pytest.mark.parametrize("between", BETWEEN)
async def test_the_last_good_tier_outlives_what_comes_between(world: World, between: str, paid: bool) -> None:
    subscription_id = await world.subscribed("u1")
    pays_something_unknown(world, subscription_id)
    if not paid:
        for invoice in world.stripe.world.all("invoice"):
            invoice.update(total=0)
    await world.want("u1")
    await world.settle()
    await BETWEEN[between](world)
    await world.want("u1")
    await world.catch_up()
    seen = await world.status("u1")
    assert (seen["tier"], seen["reason"]) == ("pro", "kept_last_good_tier")
    world.stripe.renew(subscription_id)
    await world.catch_up()
    assert await world.tier("u1") == "pro"


@pytest.mark.parametrize("first", ["incomplete", "unpaid", "paused", "active"])
async def test_the_tier_in_grace_does_not_depend_on_the_status_that_was_seen_first(world: World, first: str) -> None:
    subscription_id = await world.buy("u1")
    subscription = world.stripe.world.find("subscription", subscription_id)
    subscription["status"] = first
    await world.catch_up()
    subscription["status"] = "active"
    world.stripe.fail_next_renewal(subscription_id)
    await world.catch_up()
    seen = await world.status("u1")
    assert (seen["tier"], seen["reason"], seen["until"]) == ("pro", "past_due_in_grace", START + 7 * DAY)


async def subscribe(world: World, prices: list[str]) -> str:
    """A subscription of several items, which no checkout of ours sells; its id."""
    await world.checkout("u1")
    customer_id = await world.customer_id("u1")
    world.stripe.set_card(customer_id, "ok")
    params = {"customer": customer_id, "items": [{"price": price_id} for price_id in prices]}
    return str((await world.billing.stripe.post("/v1/subscriptions", params))["id"])


async def test_a_tier_behind_the_first_page_of_items_and_of_invoice_lines_is_found(world: World) -> None:
    """Eleven lines, of which Stripe shows ten: the tier is the eleventh."""
    product = world.stripe.add_product("Seats")
    seats = [world.stripe.add_price(product, 100 + number)["id"] for number in range(9)]
    subscription_id = await subscribe(world, ["price_pro_month", *seats, "price_123"])
    await world.catch_up()
    assert await world.tier("u1") == "enterprise"
    world.stripe.fail_next_renewal(subscription_id)
    await world.catch_up()
    assert await world.tier("u1") == "enterprise"
    assert (await world.status("u1"))["reason"] == "past_due_in_grace"


async def test_an_app_that_was_taken_out_waits_for_its_return(world: World) -> None:
    await world.buy("u1", "plus", app_id="studio")
    await world.deliver()
    taken = world.apps["apps"][1]
    await world.edit(lambda apps: apps["apps"].pop())
    await world.settle()
    await world.edit(lambda apps: apps["apps"].append(taken))
    world.move(DAY)
    await world.settle()
    assert await world.tier("u1", "studio") == "plus"


async def test_one_users_rubbish_stops_nobody_else(world: World) -> None:
    await world.buy("u1")
    await world.buy("u2")
    broken = world.stripe.world.objects["customer"].pop(await world.customer_id("u1"))
    await world.catch_up()
    assert (await world.tier("u1"), await world.tier("u2")) == ("free", "pro")
    world.stripe.world.add(broken)
    world.move(DAY)
    await world.settle()
    assert await world.tier("u1") == "pro"


async def test_nothing_is_told_of_a_commit_that_failed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.buy("u1")
    await world.deliver()
    await route_events(world.billing)

    def bug(*args: Any) -> None:
        raise RuntimeError("after everything else was written")

    with monkeypatch.context() as patched:
        patched.setattr("gateway.billing.refresh.outbox.put", bug)
        await world.refresh()
    assert (await world.tier("u1"), world.told, await changes(world)) == ("free", [], [])
    assert (await pending(world)).last_error == "RuntimeError"
    world.move(1)
    await world.settle()
    assert (await world.tier("u1"), world.told) == ("pro", [("skai", "u1", "pro")])


async def test_a_refresh_that_finds_nothing_new_is_no_change(world: World) -> None:
    await world.subscribed("u1")
    world.forget_requests()
    for _ in range(3):
        await world.want("u1")
        await world.settle()
    assert await changes(world) == [(None, "pro")]
    assert world.litellm_calls() == {}
    assert await world.query(refreshes.count_waiting) == 0
