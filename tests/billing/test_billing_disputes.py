"""T19 end to end: disputes and refunds of a charge change the tier of its customer, by what the API answers."""

from __future__ import annotations

from typing import Any

import pytest
from servers.harness import DAY, Harness

from gateway.billing.events.route import route_events
from gateway.billing.reconcile.reconcile import reconcile
from gateway.billing.reconcile.state import ReconcileOptions
from gateway.store import alerts, disputes, grants, inbox


def of_charges(harness: Harness) -> list[dict[str, Any]]:
    return [event for event in harness.events() if event["type"].startswith(("charge.", "radar."))]


async def reason(harness: Harness, user_id: str = "u1") -> str:
    return str((await harness.status(user_id))["reason"])


async def message(harness: Harness, kind: str) -> str:
    return next(each.message for each in await harness.query(alerts.live) if each.kind == kind)


async def test_a_dispute_holds_and_a_won_one_restores(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1")
    dispute = harness.stripe.dispute(subscription_id)
    await harness.catch_up()
    assert (await harness.tier("u1"), await reason(harness)) == ("free", "dispute_open")
    assert harness.limits("u1") == {"budget_id": "skai.free", "max_budget": 1, "rpm_limit": 10}
    assert harness.gate_updates[-1] == ("skai", "u1", "free")
    assert await harness.alerts() == {("dispute_open", dispute["id"])}
    assert "2000 usd" in await message(harness, "dispute_open")
    harness.stripe.dispute(subscription_id, "under_review")
    await harness.catch_up()
    assert await harness.tier("u1") == "free"
    harness.stripe.dispute(subscription_id, "won")
    await harness.catch_up()
    assert (await harness.tier("u1"), await reason(harness)) == ("pro", "active")
    assert harness.limits("u1") == {"budget_id": "skai.pro", "max_budget": 10, "rpm_limit": 60}
    assert await harness.alerts() == set()


async def test_a_lost_dispute_keeps_its_effect_after_a_restart_without_a_fetch(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1")
    dispute = harness.stripe.dispute(subscription_id, "lost")
    await harness.catch_up()
    assert await harness.alerts() == {("dispute_lost", dispute["id"])}
    await harness.restart()
    harness.forget_requests()
    await harness.want("u1")
    await harness.settle()
    assert (await harness.tier("u1"), await reason(harness)) == ("free", "dispute_lost")
    assert harness.requests("GET", "/v1/disputes") == []
    harness.stripe.cancel(subscription_id)
    await harness.catch_up()
    assert await harness.alerts() == set()
    harness.move(DAY)
    await harness.subscribed("u1")
    assert await reason(harness) == "active"


async def test_the_payload_of_a_dispute_is_not_believed(harness: Harness) -> None:
    """Late or odd events: only the present state from the API counts."""
    subscription_id = await harness.subscribed("u1")
    harness.stripe.dispute(subscription_id)
    harness.stripe.dispute(subscription_id, "won")
    for event in reversed(of_charges(harness)):
        event["data"]["object"]["status"] = "needs_response"
        event["data"]["object"]["customer"] = await harness.customer_id("u1")
        await harness.post(event)
    await harness.settle()
    assert (await harness.tier("u1"), await harness.alerts()) == ("pro", set())


@pytest.mark.parametrize("backwards", [False, True])
async def test_any_order_and_any_copies_end_the_same(harness: Harness, backwards: bool) -> None:
    subscription_id = await harness.subscribed("u1")
    for status in ("needs_response", "under_review", "won"):
        harness.stripe.dispute(subscription_id, status)
    events = of_charges(harness)
    for event in events[::-1] if backwards else events:
        await harness.post(event)
        await harness.post(event)
        await harness.settle()
    assert (await harness.tier("u1"), await harness.alerts()) == ("pro", set())


async def test_with_on_dispute_keep_the_tier_stays_and_the_alert_opens(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1")
    await harness.edit(lambda apps: apps["apps"][0].update(on_dispute="keep"))
    dispute = harness.stripe.dispute(subscription_id)
    await harness.catch_up()
    assert (await harness.tier("u1"), await harness.alerts()) == ("pro", {("dispute_open", dispute["id"])})


async def test_a_dispute_reaches_its_own_user_and_app_only(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1")
    await harness.subscribed("u2")
    await harness.subscribed("u1", "plus", app_id="studio")
    harness.stripe.dispute(subscription_id)
    await harness.catch_up()
    assert (await harness.tier("u1"), await harness.tier("u2"), await harness.tier("u1", "studio")) == (
        "free",
        "pro",
        "plus",
    )


async def test_a_grant_outlasts_a_dispute(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1")
    now = harness.billing.work.now()
    await harness.store.write(lambda conn: grants.add(conn, "skai", "u1", "enterprise", "a friend", None, now))
    harness.stripe.dispute(subscription_id)
    await harness.catch_up()
    assert (await harness.tier("u1"), await reason(harness)) == ("enterprise", "grant")


async def test_a_dispute_of_another_product_is_ignored(harness: Harness) -> None:
    """Other products share the account: their customer is fetched, and nothing is stored."""
    foreign = harness.stripe.api.state.add({"id": "ch_other", "object": "charge", "customer": "cus_other",
                                           "amount": 500, "amount_refunded": 0, "currency": "usd", "refunded": False,
                                           "disputed": False, "payment_intent": "pi_other"})  # fmt: skip
    dispute = {"id": "du_other", "object": "dispute", "charge": foreign["id"], "status": "needs_response"}
    harness.stripe.state.add(dispute)
    await harness.post(harness.stripe.emit("charge.dispute.created", dispute))
    await harness.settle()
    event = (await harness.query(lambda conn: inbox.recent(conn, 1)))[0]
    assert (event.state, await harness.alerts()) == ("ignored", set())
    assert [request.path for request in harness.requests("GET", "/v1/disputes")] == ["/v1/disputes/du_other"]


async def test_a_dispute_is_fetched_once_for_its_customer_and_once_for_its_state(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1")
    harness.forget_requests()
    dispute = harness.stripe.dispute(subscription_id, "needs_response")
    await harness.deliver(of_charges(harness)[:1])
    await harness.settle()
    requests = [(request.path, request.params) for request in harness.requests("GET", "/v1/disputes")]
    path = f"/v1/disputes/{dispute['id']}"
    assert requests == [(path, {"expand": {"0": "charge"}}), (path, {})]


async def test_a_closed_dispute_is_fetched_only_after_a_new_event(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1")
    dispute = harness.stripe.dispute(subscription_id, "lost")
    await harness.catch_up()
    harness.forget_requests()
    await harness.want("u1")
    await harness.settle()
    assert harness.requests("GET", "/v1/disputes") == []
    harness.stripe.state.objects["dispute"][dispute["id"]]["status"] = "won"  # an appeal
    await harness.post(
        harness.stripe.emit("charge.dispute.updated", harness.stripe.state.objects["dispute"][dispute["id"]])
    )
    await harness.settle()
    assert await harness.tier("u1") == "pro"


async def test_while_stripe_does_not_answer_about_a_dispute_the_tier_is_kept(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1")
    harness.stripe.dispute(subscription_id)
    await harness.deliver()
    await route_events(harness.billing)
    fault = harness.stripe.fault("status", "/v1/disputes/.*", status=503, times=99)
    await harness.settle()
    assert await harness.tier("u1") == "pro"
    fault.times = 0
    harness.move(DAY)
    await harness.settle()
    assert await harness.tier("u1") == "free"


async def test_a_key_that_may_not_read_disputes_is_alerted_and_holds_nothing_else_up(harness: Harness) -> None:
    """A restricted key: the user's other news must still count."""
    subscription_id = await harness.subscribed("u1")
    fault = harness.stripe.fault("status", "/v1/(disputes|charges)/.*", status=403, times=999)
    harness.stripe.dispute(subscription_id)
    harness.stripe.refund(subscription_id)
    await harness.deliver()
    await harness.settle()
    assert await harness.alerts() == {("event_unreadable", "dispute"), ("event_unreadable", "charge")}
    assert await harness.tier("u1") == "pro"
    harness.stripe.cancel(subscription_id)
    await harness.catch_up()
    assert await harness.tier("u1") == "free"
    fault.times = 0
    harness.move(DAY)
    await harness.want("u1")
    await harness.settle()
    assert {kind for kind, _ in await harness.alerts()} == {"dispute_open"}


async def test_a_dispute_that_stripe_has_no_more_is_forgotten_without_a_fuss(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1")
    dispute = harness.stripe.dispute(subscription_id)
    await harness.deliver()
    await route_events(harness.billing)
    del harness.stripe.state.objects["dispute"][dispute["id"]]
    await harness.settle()
    assert (await harness.tier("u1"), await harness.alerts()) == ("pro", set())
    [remembered] = await harness.query(lambda conn: disputes.of_user(conn, "skai", "u1"))
    assert remembered.open is False


async def test_an_inquiry_is_alerted_and_keeps_the_tier(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1")
    dispute = harness.stripe.dispute(subscription_id, "warning_needs_response")
    await harness.catch_up()
    assert (await harness.tier("u1"), await harness.alerts()) == ("pro", {("dispute_open", dispute["id"])})
    harness.stripe.dispute(subscription_id, "warning_closed")
    await harness.catch_up()
    assert await harness.alerts() == set()


async def test_a_full_refund_alerts_and_keeps_the_tier(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1")
    harness.stripe.refund(subscription_id, 500)
    await harness.catch_up()
    assert await harness.alerts() == set()
    harness.stripe.refund(subscription_id)
    await harness.catch_up()
    charge_id = harness.stripe.state.all("charge")[0]["id"]
    assert (await harness.tier("u1"), await harness.alerts()) == ("pro", {("refunded", charge_id)})
    assert f"{subscription_id} keeps running with its tier" in await message(harness, "refunded")
    harness.stripe.cancel(subscription_id)
    await harness.catch_up()
    assert await harness.alerts() == set()


async def test_a_full_refund_may_hold_what_it_had_paid_for_until_it_is_paid_anew(harness: Harness) -> None:
    await harness.edit(lambda apps: apps["apps"][0].update(on_full_refund="hold"))
    subscription_id = await harness.subscribed("u1")
    harness.stripe.refund(subscription_id)
    await harness.catch_up()
    assert (await harness.tier("u1"), await reason(harness)) == ("free", "refunded")
    harness.move(32 * DAY)
    await harness.catch_up()
    assert (await harness.tier("u1"), await reason(harness), await harness.alerts()) == ("pro", "active", set())


async def test_a_refund_that_the_event_only_claims_is_none(harness: Harness) -> None:
    await harness.subscribed("u1")
    charge = {**harness.stripe.state.all("charge")[0], "refunded": True, "amount_refunded": 2000}
    await harness.post(harness.stripe.emit("charge.refunded", charge))
    await harness.settle()
    assert await harness.alerts() == set()


async def test_a_fraud_warning_alerts_until_the_money_is_back(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1")
    warning = harness.stripe.warn_of_fraud(subscription_id)
    await harness.catch_up()
    assert (await harness.tier("u1"), await harness.alerts()) == ("pro", {("fraud_warning", warning["id"])})
    harness.stripe.refund(subscription_id)
    await harness.catch_up()
    assert {kind for kind, _ in await harness.alerts()} == {"refunded"}


async def test_a_full_comparison_does_not_undo_what_a_dispute_holds(harness: Harness) -> None:
    """Stripe lists the subscription as active; the store remembers why it does not count."""
    subscription_id = await harness.subscribed("u1")
    harness.stripe.dispute(subscription_id)
    await harness.catch_up()
    report = await reconcile(harness.billing, ReconcileOptions(apply=True))
    await harness.settle()
    assert list(report.found) == []
    assert await harness.tier("u1") == "free"


async def test_a_double_purchase_says_what_to_cancel_and_refund(harness: Harness) -> None:
    older = await harness.subscribed("u1")
    harness.move(60)
    params = {"customer": await harness.customer_id("u1"), "items": [{"price": "price_pro_month"}]}
    newer = await harness.billing.stripe.transport.post("/v1/subscriptions", params)
    await harness.catch_up()
    text = await message(harness, "duplicate_subscription")
    assert f"the oldest first: {older}, {newer['id']}; cancel {newer['id']}" in text
    assert f"refund {newer['latest_invoice']}, 2000 usd" in text
    harness.stripe.cancel(newer["id"])
    await harness.catch_up()
    assert (await harness.tier("u1"), await harness.alerts()) == ("pro", set())
