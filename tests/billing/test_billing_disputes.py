"""T19 end to end: what Stripe says of a charge reaches the tier of whose charge it is, and only through the API."""

from __future__ import annotations

from typing import Any

import pytest
from servers.world import DAY, World

from gateway.billing.reconcile import reconcile
from gateway.billing.reconciling import Asked
from gateway.billing.route_events import route_events
from gateway.store import alerts, disputes, grants, inbox


def of_charges(world: World) -> list[dict[str, Any]]:
    return [event for event in world.events() if event["type"].startswith(("charge.", "radar."))]


async def reason(world: World, user_id: str = "u1") -> str:
    return str((await world.status(user_id))["reason"])


async def message(world: World, kind: str) -> str:
    return next(each.message for each in await world.query(alerts.live) if each.kind == kind)


async def test_a_dispute_holds_and_a_won_one_restores(world: World) -> None:
    subscription_id = await world.subscribed("u1")
    dispute = world.stripe.dispute(subscription_id)
    await world.catch_up()
    assert (await world.tier("u1"), await reason(world)) == ("free", "dispute_open")
    assert world.limits("u1") == {"budget_id": "skai.free", "max_budget": 1, "rpm_limit": 10}
    assert world.told[-1] == ("skai", "u1", "free")
    assert await world.alerts() == {("dispute_open", dispute["id"])}
    assert "2000 usd" in await message(world, "dispute_open")
    world.stripe.dispute(subscription_id, "under_review")
    await world.catch_up()
    assert await world.tier("u1") == "free"
    world.stripe.dispute(subscription_id, "won")
    await world.catch_up()
    assert (await world.tier("u1"), await reason(world)) == ("pro", "active")
    assert world.limits("u1") == {"budget_id": "skai.pro", "max_budget": 10, "rpm_limit": 60}
    assert await world.alerts() == set()


async def test_a_lost_dispute_stays_held_after_a_restart_and_without_asking_again(world: World) -> None:
    subscription_id = await world.subscribed("u1")
    dispute = world.stripe.dispute(subscription_id, "lost")
    await world.catch_up()
    assert await world.alerts() == {("dispute_lost", dispute["id"])}
    await world.restart()
    world.forget_requests()
    await world.want("u1")
    await world.settle()
    assert (await world.tier("u1"), await reason(world)) == ("free", "dispute_lost")
    assert world.asked("GET", "/v1/disputes") == []
    world.stripe.cancel(subscription_id)
    await world.catch_up()
    assert await world.alerts() == set()
    world.move(DAY)
    await world.subscribed("u1")
    assert await reason(world) == "active"


async def test_the_payload_of_a_dispute_is_not_believed(world: World) -> None:
    """Late and forged-looking news alike: what the API says now is what counts."""
    subscription_id = await world.subscribed("u1")
    world.stripe.dispute(subscription_id)
    world.stripe.dispute(subscription_id, "won")
    for event in reversed(of_charges(world)):
        event["data"]["object"]["status"] = "needs_response"
        event["data"]["object"]["customer"] = await world.customer_id("u1")
        await world.post(event)
    await world.settle()
    assert (await world.tier("u1"), await world.alerts()) == ("pro", set())


@pytest.mark.parametrize("backwards", [False, True])
async def test_any_order_and_any_copies_end_the_same(world: World, backwards: bool) -> None:
    subscription_id = await world.subscribed("u1")
    for status in ("needs_response", "under_review", "won"):
        world.stripe.dispute(subscription_id, status)
    events = of_charges(world)
    for event in events[::-1] if backwards else events:
        await world.post(event)
        await world.post(event)
        await world.settle()
    assert (await world.tier("u1"), await world.alerts()) == ("pro", set())


async def test_an_app_may_keep_the_tier_and_is_told_all_the_same(world: World) -> None:
    subscription_id = await world.subscribed("u1")
    await world.edit(lambda apps: apps["apps"][0].update(on_dispute="keep"))
    dispute = world.stripe.dispute(subscription_id)
    await world.catch_up()
    assert (await world.tier("u1"), await world.alerts()) == ("pro", {("dispute_open", dispute["id"])})


async def test_a_dispute_reaches_its_own_user_and_app_only(world: World) -> None:
    subscription_id = await world.subscribed("u1")
    await world.subscribed("u2")
    await world.subscribed("u1", "plus", app_id="studio")
    world.stripe.dispute(subscription_id)
    await world.catch_up()
    assert (await world.tier("u1"), await world.tier("u2"), await world.tier("u1", "studio")) == ("free", "pro", "plus")


async def test_a_grant_outlasts_a_dispute(world: World) -> None:
    subscription_id = await world.subscribed("u1")
    now = world.billing.now()
    await world.store.write(lambda conn: grants.add(conn, "skai", "u1", "enterprise", "a friend", None, now))
    world.stripe.dispute(subscription_id)
    await world.catch_up()
    assert (await world.tier("u1"), await reason(world)) == ("enterprise", "grant")


async def test_a_dispute_of_somebody_elses_product_is_ignored(world: World) -> None:
    """Other products share the account: their customer is asked for, and nothing is remembered."""
    stranger = world.stripe.api.world.add({"id": "ch_other", "object": "charge", "customer": "cus_other",
                                           "amount": 500, "amount_refunded": 0, "currency": "usd", "refunded": False,
                                           "disputed": False, "payment_intent": "pi_other"})  # fmt: skip
    dispute = {"id": "du_other", "object": "dispute", "charge": stranger["id"], "status": "needs_response"}
    world.stripe.world.add(dispute)
    await world.post(world.stripe.emit("charge.dispute.created", dispute))
    await world.settle()
    event = (await world.query(lambda conn: inbox.recent(conn, 1)))[0]
    assert (event.state, await world.alerts()) == ("ignored", set())
    assert [seen.path for seen in world.asked("GET", "/v1/disputes")] == ["/v1/disputes/du_other"]


async def test_stripe_is_asked_once_for_whose_it_is_and_once_for_how_it_stands(world: World) -> None:
    subscription_id = await world.subscribed("u1")
    world.forget_requests()
    dispute = world.stripe.dispute(subscription_id, "needs_response")
    await world.deliver(of_charges(world)[:1])
    await world.settle()
    asked = [(seen.path, seen.params) for seen in world.asked("GET", "/v1/disputes")]
    path = f"/v1/disputes/{dispute['id']}"
    assert asked == [(path, {"expand": {"0": "charge"}}), (path, {})]


async def test_a_closed_dispute_is_not_asked_about_until_stripe_speaks_of_it_again(world: World) -> None:
    subscription_id = await world.subscribed("u1")
    dispute = world.stripe.dispute(subscription_id, "lost")
    await world.catch_up()
    world.forget_requests()
    await world.want("u1")
    await world.settle()
    assert world.asked("GET", "/v1/disputes") == []
    world.stripe.world.objects["dispute"][dispute["id"]]["status"] = "won"  # an appeal
    await world.post(world.stripe.emit("charge.dispute.updated", world.stripe.world.objects["dispute"][dispute["id"]]))
    await world.settle()
    assert await world.tier("u1") == "pro"


async def test_while_stripe_cannot_be_asked_of_a_dispute_the_tier_is_kept(world: World) -> None:
    subscription_id = await world.subscribed("u1")
    world.stripe.dispute(subscription_id)
    await world.deliver()
    await route_events(world.billing)
    fault = world.stripe.fault("status", "/v1/disputes/.*", status=503, times=99)
    await world.settle()
    assert await world.tier("u1") == "pro"
    fault.times = 0
    world.move(DAY)
    await world.settle()
    assert await world.tier("u1") == "free"


async def test_a_key_that_may_not_read_disputes_is_alerted_and_holds_nothing_else_up(world: World) -> None:
    """A restricted key: the user's other news must still count."""
    subscription_id = await world.subscribed("u1")
    fault = world.stripe.fault("status", "/v1/(disputes|charges)/.*", status=403, times=999)
    world.stripe.dispute(subscription_id)
    world.stripe.refund(subscription_id)
    await world.deliver()
    await world.settle()
    assert await world.alerts() == {("event_unreadable", "dispute"), ("event_unreadable", "charge")}
    assert await world.tier("u1") == "pro"
    world.stripe.cancel(subscription_id)
    await world.catch_up()
    assert await world.tier("u1") == "free"
    fault.times = 0
    world.move(DAY)
    await world.want("u1")
    await world.settle()
    assert {kind for kind, _ in await world.alerts()} == {"dispute_open"}


async def test_a_dispute_that_stripe_has_no_more_is_forgotten_without_a_fuss(world: World) -> None:
    subscription_id = await world.subscribed("u1")
    dispute = world.stripe.dispute(subscription_id)
    await world.deliver()
    await route_events(world.billing)
    del world.stripe.world.objects["dispute"][dispute["id"]]
    await world.settle()
    assert (await world.tier("u1"), await world.alerts()) == ("pro", set())
    [remembered] = await world.query(lambda conn: disputes.of_user(conn, "skai", "u1"))
    assert remembered.open is False


async def test_an_inquiry_alerts_and_holds_nobody(world: World) -> None:
    subscription_id = await world.subscribed("u1")
    dispute = world.stripe.dispute(subscription_id, "warning_needs_response")
    await world.catch_up()
    assert (await world.tier("u1"), await world.alerts()) == ("pro", {("dispute_open", dispute["id"])})
    world.stripe.dispute(subscription_id, "warning_closed")
    await world.catch_up()
    assert await world.alerts() == set()


async def test_a_full_refund_alerts_and_keeps_the_tier(world: World) -> None:
    subscription_id = await world.subscribed("u1")
    world.stripe.refund(subscription_id, 500)
    await world.catch_up()
    assert await world.alerts() == set()
    world.stripe.refund(subscription_id)
    await world.catch_up()
    charge_id = world.stripe.world.all("charge")[0]["id"]
    assert (await world.tier("u1"), await world.alerts()) == ("pro", {("refunded", charge_id)})
    assert f"{subscription_id} runs on with its tier" in await message(world, "refunded")
    world.stripe.cancel(subscription_id)
    await world.catch_up()
    assert await world.alerts() == set()


async def test_a_full_refund_may_hold_what_it_had_paid_for_until_it_is_paid_anew(world: World) -> None:
    await world.edit(lambda apps: apps["apps"][0].update(on_full_refund="hold"))
    subscription_id = await world.subscribed("u1")
    world.stripe.refund(subscription_id)
    await world.catch_up()
    assert (await world.tier("u1"), await reason(world)) == ("free", "refunded")
    world.move(32 * DAY)
    await world.catch_up()
    assert (await world.tier("u1"), await reason(world), await world.alerts()) == ("pro", "active", set())


async def test_a_refund_that_the_event_only_claims_is_none(world: World) -> None:
    await world.subscribed("u1")
    charge = {**world.stripe.world.all("charge")[0], "refunded": True, "amount_refunded": 2000}
    await world.post(world.stripe.emit("charge.refunded", charge))
    await world.settle()
    assert await world.alerts() == set()


async def test_a_fraud_warning_alerts_until_the_money_is_back(world: World) -> None:
    subscription_id = await world.subscribed("u1")
    warning = world.stripe.warn_of_fraud(subscription_id)
    await world.catch_up()
    assert (await world.tier("u1"), await world.alerts()) == ("pro", {("fraud_warning", warning["id"])})
    world.stripe.refund(subscription_id)
    await world.catch_up()
    assert {kind for kind, _ in await world.alerts()} == {"refunded"}


async def test_a_full_comparison_does_not_undo_what_a_dispute_holds(world: World) -> None:
    """Stripe lists the subscription as active; the store remembers why it does not count."""
    subscription_id = await world.subscribed("u1")
    world.stripe.dispute(subscription_id)
    await world.catch_up()
    report = await reconcile(world.billing, Asked(apply=True))
    await world.settle()
    assert list(report.found) == []
    assert await world.tier("u1") == "free"


async def test_a_double_purchase_says_what_to_cancel_and_refund(world: World) -> None:
    older = await world.subscribed("u1")
    world.move(60)
    params = {"customer": await world.customer_id("u1"), "items": [{"price": "price_pro_month"}]}
    newer = await world.billing.stripe.post("/v1/subscriptions", params)
    await world.catch_up()
    text = await message(world, "duplicate_subscription")
    assert f"the oldest first: {older}, {newer['id']}; cancel {newer['id']}" in text
    assert f"refund {newer['latest_invoice']}, 2000 usd" in text
    world.stripe.cancel(newer["id"])
    await world.catch_up()
    assert (await world.tier("u1"), await world.alerts()) == ("pro", set())
