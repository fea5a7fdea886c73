"""What Stripe holds now decides, whatever came when: order, repetition, and everything that goes wrong in between."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from servers.harness import DAY, OWNER, START, Harness, until

from gateway.billing.events.route import route_events
from gateway.billing.refresh import grants
from gateway.billing.refresh.refresh import LEASE_SECONDS, refresh
from gateway.sandbox.stripe.billing import cancel_later, start
from gateway.store import customers, entitlements, refreshes
from gateway.store.refreshes import RefreshState

Order = Callable[[list[Any]], list[Any]]
ORDERS: dict[str, Order] = {
    "as born": list,
    "reversed": lambda events: events[::-1],
    "each twice": lambda events: [event for event in events for _ in range(2)],
    "shuffled": lambda events: random.Random(7).sample(events, len(events)),  # noqa: S311  # no secret: an order
    "the last alone": lambda events: events[-1:],
    "twice over": lambda events: events + events,
}


async def pending(harness: Harness, user_id: str = "u1") -> RefreshState:
    found = await harness.query(lambda conn: refreshes.of_user(conn, "skai", user_id))
    assert found is not None
    return found


async def changes(harness: Harness, user_id: str = "u1") -> list[tuple[str | None, str]]:
    found = await harness.query(lambda conn: entitlements.changes(conn, "skai", user_id, 50))
    return [(each.from_tier, each.to_tier) for each in reversed(found)]


@pytest.mark.parametrize("order", ORDERS)
async def test_any_order_of_the_same_events_ends_the_same(harness: Harness, order: str) -> None:
    subscription_id = await harness.buy("u1")
    harness.stripe.renew(subscription_id)
    harness.stripe.fail_next_renewal(subscription_id)
    harness.stripe.pay_open_invoice(subscription_id)
    bought = ORDERS[order](harness.events())
    await harness.deliver(bought)
    await harness.settle()
    assert await harness.tier("u1") == "pro"
    harness.stripe.cancel(subscription_id)
    ended = harness.events()
    await harness.deliver(ORDERS[order](ended))
    await harness.deliver(bought)  # late, and long out of date
    await harness.settle()
    assert await harness.tier("u1") == "free"
    assert await changes(harness) == [(None, "pro"), ("pro", "free")]
    assert harness.limits("u1") == {"budget_id": "skai.free", "max_budget": 1, "rpm_limit": 10}


async def test_all_events_of_one_purchase_cost_two_fetches_at_most(harness: Harness) -> None:
    await harness.buy("u1")
    events = harness.events()
    assert len(events) >= 6
    harness.forget_requests()
    await harness.deliver(events[:4])
    await route_events(harness.billing)
    await harness.deliver(events[4:])
    await harness.settle()
    assert 1 <= len(harness.requests("GET", "/v1/subscriptions")) <= 2
    assert await harness.tier("u1") == "pro"


async def test_an_event_during_the_fetch_is_not_lost(harness: Harness) -> None:
    subscription_id = await harness.buy("u1")
    await harness.deliver()
    await route_events(harness.billing)
    harness.stripe.fault("slow", "/v1/subscriptions", seconds=0.2)
    [lease] = await harness.lease()
    running = asyncio.create_task(refresh(harness.billing, lease, OWNER))
    await until(lambda: bool(harness.requests("GET", "/v1/subscriptions")), "the fetch begins")
    await harness.post(next(event for event in harness.stripe.state.all("event")[::-1]) | {"id": "evt_in_between"})
    await route_events(harness.billing)
    await running
    assert (await pending(harness)).wanted > (await pending(harness)).done
    harness.stripe.cancel(subscription_id)
    await harness.settle()
    assert await harness.tier("u1") == "free"


async def test_t22_a_lease_that_was_lost_writes_nothing(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1")
    harness.stripe.cancel(subscription_id)
    await harness.want("u1")
    [overslept] = await harness.lease("sleeper")
    harness.clock.now += LEASE_SECONDS
    [taken] = await harness.lease("other")
    harness.gate_updates.clear()
    await refresh(harness.billing, overslept, "sleeper")
    assert await harness.tier("u1") == "pro"
    assert harness.gate_updates == []
    await refresh(harness.billing, taken, "other")
    assert await harness.tier("u1") == "free"


async def test_an_expired_lease_writes_nothing_although_no_other_was_taken(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1")
    harness.stripe.cancel(subscription_id)
    await harness.want("u1")
    [overslept] = await harness.lease()
    harness.clock.now += LEASE_SECONDS
    await refresh(harness.billing, overslept, OWNER)
    assert await harness.tier("u1") == "pro"
    await harness.settle()
    assert await harness.tier("u1") == "free"


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
async def test_while_stripe_fails_the_last_tier_stays_and_an_alert_opens(
    harness: Harness, fault: dict[str, Any]
) -> None:
    subscription_id = await harness.subscribed("u1")
    harness.stripe.cancel(subscription_id)
    await harness.deliver()
    broken = harness.stripe.fault(path="/v1/subscriptions", times=10_000, **fault)
    waits = []
    for failures in range(1, 7):
        assert await harness.alerts() == (set() if failures <= 5 else {("refresh_failing", "skai/u1")})
        await harness.settle()
        state = await pending(harness)
        assert (state.attempts, await harness.tier("u1")) == (failures, "pro")
        assert state.due_at is not None
        waits.append(state.due_at - harness.billing.work.now())
        harness.move(waits[-1])
    assert waits == [1, 2, 4, 8, 16, 32]
    assert (await pending(harness)).last_error
    broken.times = 0
    await harness.settle()
    assert await harness.tier("u1") == "free"
    assert await harness.alerts() == set()


async def test_a_wrong_key_lowers_no_user_and_is_alerted_at_once(harness: Harness) -> None:
    await harness.subscribed("u1")
    harness.stripe.secret_keys.clear()
    await harness.want("u1")
    await harness.settle()
    assert await harness.tier("u1") == "pro"
    assert await harness.alerts() == {("refresh_failing", "skai/u1")}


async def test_t16_the_key_of_another_account_lowers_nobody(harness: Harness) -> None:
    """There, each of our customers is "No such customer"."""
    await harness.subscribed("u1")
    harness.stripe.state.objects["customer"].clear()
    await harness.want("u1")
    await harness.settle()
    assert await harness.tier("u1") == "pro"
    assert await harness.alerts() == {("refresh_failing", "skai/u1")}


async def test_the_alert_closes_although_an_event_came_in_between(harness: Harness) -> None:
    """An event clears the backoff, and with it the count of failures."""
    await harness.subscribed("u1")
    key = set(harness.stripe.secret_keys)
    harness.stripe.secret_keys.clear()
    await harness.want("u1")
    await harness.settle()
    assert await harness.alerts() == {("refresh_failing", "skai/u1")}
    harness.stripe.secret_keys |= key
    await harness.want("u1")
    await harness.settle()
    assert await harness.alerts() == set()


async def test_a_stripe_that_never_answers_is_given_up_before_the_lease_ends(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await harness.subscribed("u1")
    monkeypatch.setattr("gateway.billing.refresh.refresh.FETCH_SECONDS", 0.05)
    harness.stripe.fault("slow", "/v1/subscriptions", seconds=5)
    await harness.want("u1")
    await harness.settle()
    state = await pending(harness)
    assert (state.attempts, state.last_error, await harness.tier("u1")) == (1, "TimeoutError", "pro")


async def test_answers_that_are_no_subscriptions_change_nothing(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscription_id = await harness.subscribed("u1")
    kept = harness.stripe.state.objects["subscription"]
    for odd in ({"status": None}, {"items": {"data": ["si_1"]}}, {"id": ""}):
        real = dict(kept[subscription_id])
        with monkeypatch.context() as patched:
            patched.setitem(kept, subscription_id, {**real, **odd})
            patched.setattr("gateway.sandbox.stripe.api.rendered", lambda harness, answer: answer)
            await harness.want("u1")
            await harness.settle()
        assert await harness.tier("u1") == "pro"
        assert (await pending(harness)).attempts == 1


async def test_a_failed_renewal_keeps_the_tier_for_the_grace_and_the_clock_ends_it(harness: Harness) -> None:
    harness.stripe.settings.after_dunning = "past_due"
    subscription_id = await harness.subscribed("u1")
    harness.move(31 * DAY)
    harness.stripe.fail_next_renewal(subscription_id)
    failed_at = harness.billing.work.now()
    await harness.catch_up()
    status = await harness.status("u1")
    assert (status["tier"], status["status"], status["reason"]) == ("pro", "past_due", "past_due_in_grace")
    assert (status["until"], status["then"]) == (failed_at + 7 * DAY, [{"at": failed_at + 7 * DAY, "tier": "free"}])
    assert (await pending(harness)).due_at == failed_at + 7 * DAY - 5
    harness.events()
    harness.move(7 * DAY - 5)
    harness.events()  # no webhook comes: the clock alone must do it
    await harness.settle()
    assert await harness.tier("u1") == "pro"
    harness.move(6)
    await harness.settle()
    status = await harness.status("u1")
    assert (status["tier"], status["reason"], status["until"]) == ("free", "past_due_grace_over", None)
    assert harness.limits("u1") == {"budget_id": "skai.free", "max_budget": 1, "rpm_limit": 10}


async def test_who_pays_within_the_grace_was_never_lowered(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1")
    harness.move(31 * DAY)
    harness.stripe.fail_next_renewal(subscription_id)
    await harness.catch_up()
    harness.move(2 * DAY)
    harness.stripe.set_card(await harness.customer_id("u1"), "ok")
    harness.stripe.pay_open_invoice(subscription_id)
    await harness.catch_up()
    status = await harness.status("u1")
    assert (status["tier"], status["status"], status["until"]) == ("pro", "active", None)
    assert await changes(harness) == [(None, "pro")]


async def test_a_lost_webhook_about_a_paid_invoice_cuts_nobody_off_at_the_end_of_grace(harness: Harness) -> None:
    """T20: at the instant itself Stripe is read once more."""
    subscription_id = await harness.subscribed("u1")
    harness.move(31 * DAY)
    harness.stripe.fail_next_renewal(subscription_id)
    await harness.catch_up()
    harness.stripe.set_card(await harness.customer_id("u1"), "ok")
    harness.stripe.pay_open_invoice(subscription_id)
    harness.events()  # lost
    harness.move(8 * DAY)
    await harness.settle()
    assert await harness.tier("u1") == "pro"


async def test_a_cancellation_keeps_the_tier_until_it_ends(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1")
    ends_at = harness.billing.work.now() + 10 * DAY
    subscription = harness.stripe.state.find("subscription", subscription_id)
    cancel_later(harness.stripe.state, subscription, ends_at, flag=False)
    await harness.catch_up()
    status = await harness.status("u1")
    assert (status["tier"], status["ends_at"], status["until"]) == ("pro", ends_at, ends_at)
    harness.move(10 * DAY + 1)
    harness.events()  # lost
    await harness.settle()
    assert await harness.tier("u1") == "free"


async def test_t22_two_customers_of_one_user_are_read_under_one_lease(harness: Harness) -> None:
    first = await harness.subscribed("u1", "pro")
    customer = harness.stripe.state.objects["customer"][await harness.customer_id("u1")]
    other = {**customer, "id": "cus_second"}
    harness.stripe.state.add(other)
    await harness.store.write(
        lambda conn: customers.add(conn, "skai", "u1", "cus_second", None, harness.billing.work.now() + 1)
    )
    harness.stripe.state.cards["cus_second"] = "ok"
    start(harness.stripe.state, "cus_second", [{"price": "price_123", "quantity": 1}], {})
    await harness.catch_up()
    assert await harness.tier("u1") == "enterprise"
    assert {kind for kind, _ in await harness.alerts()} == {"duplicate_subscription"}
    harness.stripe.cancel(first)
    await harness.catch_up()
    assert await harness.tier("u1") == "enterprise"
    assert await harness.alerts() == set()


async def test_a_deleted_customer_ends_the_tier_and_may_come_back(harness: Harness) -> None:
    await harness.subscribed("u1")
    old = await harness.customer_id("u1")
    async with harness.http.delete(
        f"{harness.stripe_url}/v1/customers/{old}", headers={"Authorization": "Bearer sk_test_1f0c7a"}
    ) as answer:
        assert answer.status == 200
    await harness.catch_up()
    assert await harness.tier("u1") == "free"
    await harness.buy("u1")
    await harness.catch_up()
    assert await harness.customer_id("u1") != old
    assert await harness.tier("u1") == "pro"


async def test_a_customer_missing_from_lists_is_fetched_by_id(harness: Harness) -> None:
    """Only `deleted: true` proves a deletion; then the user is on the default tier, and the refresh ends."""
    await harness.subscribed("u1")
    customer_id = await harness.customer_id("u1")
    harness.stripe.state.objects["customer"][customer_id] = {"id": customer_id, "object": "customer", "deleted": True}
    harness.stripe.fault("status", "/v1/subscriptions", status=400, code="resource_missing")
    await harness.want("u1")
    await harness.settle()
    assert await harness.tier("u1") == "free"
    assert await harness.query(lambda conn: customers.of_user(conn, "skai", "u1")) == []
    assert await harness.alerts() == set()


def move_lookup_key(
    harness: Harness,
    lookup_key: str = "skai_pro_month",
    price_id: str = "price_pro_2",
    product_id: str = "prod_skai_pro",
) -> None:
    """What `transfer_lookup_key` does: a new price takes the key, the old one has none any more."""
    for price in harness.stripe.state.all("price"):
        if price["lookup_key"] == lookup_key:
            price["lookup_key"] = None
    harness.stripe.add_price(product_id, 2500, lookup_key=lookup_key, price_id=price_id)


async def test_t15_who_pays_the_old_price_keeps_the_tier_after_its_key_moved(harness: Harness) -> None:
    await harness.subscribed("u1")
    move_lookup_key(harness)
    await harness.restart()
    await harness.want("u1")
    await harness.settle()
    status = await harness.status("u1")
    assert (status["tier"], status["reason"], await harness.alerts()) == ("pro", "active", set())


async def test_t15_a_key_that_moves_twice_while_somebody_is_at_the_checkout_costs_them_nothing(
    harness: Harness,
) -> None:
    """Between the first and the second move only this checkout ever saw the price in the middle."""
    harness.stripe.add_product("Pro, last season's", product_id="prod_in_between")
    move_lookup_key(harness, price_id="price_pro_2", product_id="prod_in_between")
    link = await harness.checkout("u1")
    move_lookup_key(harness, price_id="price_pro_3")
    assert await harness.click(link.url, action="pay") == 303
    await harness.catch_up()
    assert await harness.tier("u1") == "pro"
    assert await harness.alerts() == set()


async def test_what_two_refreshes_learn_at_once_is_known_of_both(harness: Harness) -> None:
    await harness.edit(lambda apps: apps["apps"][0]["tiers"][1]["prices"].append({"lookup_key": "skai_pro_week"}))
    bought = {user_id: await harness.subscribed(user_id) for user_id in ("u1", "u2")}
    for user_id, price_id, key in (("u1", "price_a", "skai_pro_month"), ("u2", "price_b", "skai_pro_week")):
        move_lookup_key(harness, key, price_id)
        item = harness.stripe.state.find("subscription", bought[user_id])["items"]["data"][0]
        item["price"] = price_id
        await harness.want(user_id)
    harness.billing.prices.known_prices = {"skai": {}, "studio": {}}
    leases = await harness.lease()
    assert len(leases) == 2
    await asyncio.gather(*(refresh(harness.billing, lease, OWNER) for lease in leases))
    assert harness.billing.prices.known_prices["skai"].keys() >= {"price_a", "price_b"}


def pays_something_unknown(harness: Harness, subscription_id: str) -> None:
    """As after a change in the Dashboard: a price of a product that apps.json does not name."""
    harness.stripe.add_product("Special offer", product_id="prod_special")
    harness.stripe.add_price("prod_special", 1234, price_id="price_unheard_of")
    harness.stripe.state.find("subscription", subscription_id)["items"]["data"][0]["price"] = "price_unheard_of"


async def test_an_unknown_price_keeps_the_tier_and_alerts_until_it_is_known(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1")
    pays_something_unknown(harness, subscription_id)
    await harness.want("u1")
    await harness.settle()
    status = await harness.status("u1")
    assert (status["tier"], status["reason"]) == ("pro", "kept_last_good_tier")
    assert await harness.alerts() == {("unknown_price", subscription_id)}
    await harness.edit(lambda apps: apps["apps"][0]["tiers"][1]["prices"].append({"price_id": "price_unheard_of"}))
    await harness.want("u1")
    await harness.settle()
    assert ((await harness.status("u1"))["reason"], await harness.alerts()) == ("active", set())


async def test_an_unknown_price_gives_what_was_paid_last_though_nobody_saw_it_paid(harness: Harness) -> None:
    subscription_id = await harness.buy("u1")
    pays_something_unknown(harness, subscription_id)
    await harness.catch_up()
    assert await harness.tier("u1") == "pro"
    assert await harness.alerts() == {("unknown_price", subscription_id)}


async def test_an_unknown_price_of_a_new_subscription_raises_nobody(harness: Harness) -> None:
    subscription_id = await harness.buy("u1")
    pays_something_unknown(harness, subscription_id)
    for invoice in harness.stripe.state.all("invoice"):
        for line in invoice["lines"]["data"]:
            line["pricing"]["price_details"] = {"price": "price_unheard_of", "product": "prod_special"}
    await harness.catch_up()
    assert await harness.tier("u1") == "free"
    assert await harness.alerts() == {("unknown_price", subscription_id)}


async def give(harness: Harness, tier: str) -> None:
    await harness.billing.work.write(
        lambda tx: grants.give(tx, harness.billing.apps.catalog, "skai", "u1", tier, "-", None)
    )
    await harness.settle()
    await harness.billing.work.write(lambda tx: grants.take_back(tx, "skai", "u1"))


async def pause_and_resume(harness: Harness) -> None:
    [subscription] = harness.stripe.state.all("subscription")
    subscription["status"] = "paused"
    await harness.want("u1")
    await harness.settle()
    subscription["status"] = "active"


async def dispute_and_win(harness: Harness) -> None:
    [subscription] = harness.stripe.state.all("subscription")
    for status in ("needs_response", "won"):
        harness.stripe.dispute(subscription["id"], status)
        await harness.catch_up()


async def renew_late(harness: Harness) -> None:
    [subscription] = harness.stripe.state.all("subscription")
    harness.clock.now = subscription["items"]["data"][0]["current_period_end"] + 30
    harness.stripe.state.next_change_at = math.inf
    await harness.want("u1")
    await harness.settle()
    harness.stripe.renew(subscription["id"])


async def buy_and_end_another(harness: Harness) -> None:
    [subscription] = harness.stripe.state.all("subscription")
    params = {"customer": subscription["customer"], "items": [{"price": "price_123"}]}
    second = await harness.billing.stripe.transport.post("/v1/subscriptions", params)
    await harness.catch_up()
    harness.stripe.cancel(second["id"])


BETWEEN = {
    "a grant": partial(give, tier="sovereign"),
    "a pause": pause_and_resume,
    "a dispute": dispute_and_win,
    "a late renewal": renew_late,
    "a second subscription": buy_and_end_another,
}


@pytest.mark.parametrize("paid", [True, False], ids=["paid", "never paid"])
@pytest.mark.parametrize("between", BETWEEN)
async def test_the_last_good_tier_outlives_what_comes_between(harness: Harness, between: str, paid: bool) -> None:
    subscription_id = await harness.subscribed("u1")
    pays_something_unknown(harness, subscription_id)
    if not paid:
        for invoice in harness.stripe.state.all("invoice"):
            invoice.update(total=0)
    await harness.want("u1")
    await harness.settle()
    await BETWEEN[between](harness)
    await harness.want("u1")
    await harness.catch_up()
    status = await harness.status("u1")
    assert (status["tier"], status["reason"]) == ("pro", "kept_last_good_tier")
    harness.stripe.renew(subscription_id)
    await harness.catch_up()
    assert await harness.tier("u1") == "pro"


@pytest.mark.parametrize("first", ["incomplete", "unpaid", "paused", "active"])
async def test_the_tier_in_grace_does_not_depend_on_the_status_that_was_seen_first(
    harness: Harness, first: str
) -> None:
    subscription_id = await harness.buy("u1")
    subscription = harness.stripe.state.find("subscription", subscription_id)
    subscription["status"] = first
    await harness.catch_up()
    subscription["status"] = "active"
    harness.stripe.fail_next_renewal(subscription_id)
    await harness.catch_up()
    status = await harness.status("u1")
    assert (status["tier"], status["reason"], status["until"]) == ("pro", "past_due_in_grace", START + 7 * DAY)


async def subscribe(harness: Harness, prices: list[str]) -> str:
    """A subscription of several items, which no checkout of ours sells; its id."""
    await harness.checkout("u1")
    customer_id = await harness.customer_id("u1")
    harness.stripe.set_card(customer_id, "ok")
    params = {"customer": customer_id, "items": [{"price": price_id} for price_id in prices]}
    return str((await harness.billing.stripe.transport.post("/v1/subscriptions", params))["id"])


async def test_a_tier_behind_the_first_page_of_items_and_of_invoice_lines_is_found(harness: Harness) -> None:
    """Eleven lines, of which Stripe shows ten: the tier is the eleventh."""
    product = harness.stripe.add_product("Seats")
    seats = [harness.stripe.add_price(product, 100 + number)["id"] for number in range(9)]
    subscription_id = await subscribe(harness, ["price_pro_month", *seats, "price_123"])
    await harness.catch_up()
    assert await harness.tier("u1") == "enterprise"
    harness.stripe.fail_next_renewal(subscription_id)
    await harness.catch_up()
    assert await harness.tier("u1") == "enterprise"
    assert (await harness.status("u1"))["reason"] == "past_due_in_grace"


async def test_an_app_that_was_taken_out_waits_for_its_return(harness: Harness) -> None:
    await harness.buy("u1", "plus", app_id="studio")
    await harness.deliver()
    taken = harness.apps["apps"][1]
    await harness.edit(lambda apps: apps["apps"].pop())
    await harness.settle()
    await harness.edit(lambda apps: apps["apps"].append(taken))
    harness.move(DAY)
    await harness.settle()
    assert await harness.tier("u1", "studio") == "plus"


async def test_unreadable_data_of_one_user_stops_no_other(harness: Harness) -> None:
    await harness.buy("u1")
    await harness.buy("u2")
    broken = harness.stripe.state.objects["customer"].pop(await harness.customer_id("u1"))
    await harness.catch_up()
    assert (await harness.tier("u1"), await harness.tier("u2")) == ("free", "pro")
    harness.stripe.state.add(broken)
    harness.move(DAY)
    await harness.settle()
    assert await harness.tier("u1") == "pro"


async def test_a_commit_that_failed_has_no_effects(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    await harness.buy("u1")
    await harness.deliver()
    await route_events(harness.billing)

    def bug(*args: Any, **more: Any) -> None:
        raise RuntimeError("after everything else was written")

    with monkeypatch.context() as patched:
        patched.setattr("gateway.billing.work.transaction.provisioning.put", bug)
        await harness.refresh()
    assert (await harness.tier("u1"), harness.gate_updates, await changes(harness)) == ("free", [], [])
    assert (await pending(harness)).last_error == "RuntimeError"
    harness.move(1)
    await harness.settle()
    assert (await harness.tier("u1"), harness.gate_updates) == ("pro", [("skai", "u1", "pro")])


async def test_a_refresh_that_finds_nothing_new_is_no_change(harness: Harness) -> None:
    await harness.subscribed("u1")
    harness.forget_requests()
    for _ in range(3):
        await harness.want("u1")
        await harness.settle()
    assert await changes(harness) == [(None, "pro")]
    assert harness.litellm_calls() == {}
    assert await harness.query(refreshes.count_waiting) == 0
