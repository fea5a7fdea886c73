"""Invoices over the API, and changes of a subscription that are refused."""

from __future__ import annotations

from typing import Any

import pytest
from stripe_stage import DAY, Box, Start, seed, until

from gateway.sandbox.stripe import Settings

Json = dict[str, Any]


async def test_paying_with_the_card_out_of_band_and_twice(box: Box) -> None:
    subscription = await box.subscribed()
    first = box.sandbox.fail_next_renewal(subscription["id"])
    assert first is not None
    path = f"/v1/invoices/{first['id']}"
    status, answer = await box.call("POST", f"{path}/pay")
    assert (status, answer["error"]["type"]) == (402, "card_error")
    assert (await box.ok("GET", path))["attempt_count"] == 2
    paid = await box.ok("POST", f"{path}/pay", {"paid_out_of_band": True})
    assert (paid["status"], paid["amount_remaining"]) == ("paid", 0)
    assert (await box.subscription(subscription["id"]))["status"] == "active"
    status, answer = await box.call("POST", f"{path}/pay")
    assert (status, answer["error"]["message"]) == (400, "Invoice is already paid")
    payments = await box.ok("GET", "/v1/invoice_payments", {"invoice": first["id"]})
    assert [payment["status"] for payment in payments["data"]] == ["paid"]
    alone = await box.ok("GET", f"/v1/invoice_payments/{payments['data'][0]['id']}", {"expand[]": "invoice"})
    assert alone["invoice"]["id"] == first["id"]


async def test_voiding_forgives_but_does_not_revive(box: Box) -> None:
    subscription = await box.subscribed()
    failed = box.sandbox.fail_next_renewal(subscription["id"])
    assert failed is not None
    path = f"/v1/invoices/{failed['id']}"
    assert (await box.ok("POST", f"{path}/void"))["status"] == "void"
    assert (await box.call("POST", f"{path}/void"))[0] == 400
    assert (await box.call("POST", f"{path}/pay"))[0] == 400
    assert (await box.subscription(subscription["id"]))["status"] == "past_due"


async def test_invoices_are_filtered(box: Box) -> None:
    one, other = await box.subscribed(), await box.subscribed()
    failed = box.sandbox.fail_next_renewal(one["id"])
    assert failed is not None

    async def ids(**form: Any) -> list[str]:
        return [each["id"] for each in (await box.ok("GET", "/v1/invoices", form))["data"]]

    assert await ids(customer=one["customer"], status="open") == [failed["id"]]
    assert await ids(subscription=other["id"]) == [other["latest_invoice"]]
    assert len(await ids()) == 3


async def test_an_older_invoice_paid_does_not_bring_the_subscription_back(start: Start) -> None:
    """Stripe looks at the latest invoice only."""
    box = await start(settings=Settings(after_dunning="past_due"))
    seed(box.sandbox)
    subscription = await box.subscribed()
    older = box.sandbox.fail_next_renewal(subscription["id"])
    box.sandbox.fail_next_renewal(subscription["id"])
    assert older is not None
    await box.ok("POST", f"/v1/invoices/{older['id']}/pay", {"paid_out_of_band": True})
    assert (await box.subscription(subscription["id"]))["status"] == "past_due"


async def test_unpaid_subscriptions_pile_up_drafts(start: Start) -> None:
    box = await start(settings=Settings(dunning_days=(), after_dunning="unpaid"))
    seed(box.sandbox)
    subscription = await box.subscribed()
    box.sandbox.fail_next_renewal(subscription["id"])
    assert (await box.subscription(subscription["id"]))["status"] == "unpaid"
    box.sandbox.advance(70 * DAY)
    drafts = (await box.ok("GET", "/v1/invoices", {"customer": subscription["customer"], "status": "draft"}))["data"]
    assert [invoice["auto_advance"] for invoice in drafts] == [False]


async def test_a_paid_upgrade_ends_past_due_although_the_old_invoice_is_open(box: Box) -> None:
    subscription = await box.subscribed()
    failed = box.sandbox.fail_next_renewal(subscription["id"])
    assert failed is not None
    box.sandbox.set_card(subscription["customer"], "ok")
    item = subscription["items"]["data"][0]
    form = {"items[0][id]": item["id"], "items[0][price]": "price_123", "proration_behavior": "always_invoice"}
    changed = await box.ok("POST", f"/v1/subscriptions/{subscription['id']}", form)
    assert changed["status"] == "active"
    assert (await box.ok("GET", f"/v1/invoices/{failed['id']}"))["status"] == "open"


async def test_a_trial_is_ended_or_moved(box: Box) -> None:
    subscription = await box.subscribed(**{"subscription_data[trial_period_days]": 14})
    path = f"/v1/subscriptions/{subscription['id']}"
    moved = await box.ok("POST", path, {"trial_end": subscription["trial_end"] + DAY})
    assert moved["items"]["data"][0]["current_period_end"] == moved["trial_end"] == subscription["trial_end"] + DAY
    ended = await box.ok("POST", path, {"trial_end": "now"})
    assert (ended["status"], ended["trial_end"] <= box.sandbox.state.time()) == ("active", True)
    assert ended["items"]["data"][0]["current_period_start"] == ended["trial_end"]


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"items[0][id]": "si_x", "items[0][price]": "price_123"}, "items[0][id]"),
        ({"items[0][quantity]": 1}, "items[0][price]"),
        ({"items[0][price]": "price_x"}, "items[0][price]"),
        ({"items[0][price]": "price_pro"}, "items"),
        ({"items[0][price]": "price_eur"}, "items[0][price]"),
        ({"items[0][price]": "price_old"}, "items[0][price]"),
        ({"cancel_at": 12}, "cancel_at"),
        ({"billing_cycle_anchor": "now"}, "billing_cycle_anchor"),
        ({"coupon": "X"}, "coupon"),
    ],
)
async def test_changes_that_are_refused_change_nothing(box: Box, form: Json, param: str) -> None:
    box.sandbox.add_price("prod_pro", 100, "eur", price_id="price_eur")
    box.sandbox.add_price("prod_pro", 100, price_id="price_old")
    await box.ok("POST", "/v1/prices/price_old", {"active": False})
    subscription = await box.subscribed()
    status, answer = await box.call("POST", f"/v1/subscriptions/{subscription['id']}", form)
    assert (status, answer["error"].get("param")) == (400, param)
    assert await box.subscription(subscription["id"]) == subscription


async def test_the_last_item_cannot_be_taken_away(box: Box) -> None:
    subscription = await box.subscribed()
    form = {"items[0][id]": subscription["items"]["data"][0]["id"], "items[0][deleted]": True}
    status, answer = await box.call("POST", f"/v1/subscriptions/{subscription['id']}", form)
    assert status == 400
    assert "at least one active plan" in answer["error"]["message"]


async def test_canceling_the_schedule_cancels_the_subscription(box: Box) -> None:
    subscription = await box.subscribed("price_123")
    made = await box.ok(
        "POST",
        "/v1/billing_portal/configurations",
        {
            "features[subscription_update][enabled]": True,
            "features[subscription_update][products][0][product]": "prod_pro",
            "features[subscription_update][products][0][prices][0]": "price_pro",
            "features[subscription_update][schedule_at_period_end][conditions][0][type]": "decreasing_item_amount",
        },
    )
    form = {"customer": subscription["customer"], "configuration": made["id"]}
    session = await box.ok("POST", "/v1/billing_portal/sessions", form)
    await box.click(session["url"], action="change_plan", subscription=subscription["id"], price="price_pro")
    schedule_id = (await box.subscription(subscription["id"]))["schedule"]
    canceled = await box.ok("POST", f"/v1/subscription_schedules/{schedule_id}/cancel")
    assert canceled["status"] == "canceled"
    assert (await box.subscription(subscription["id"]))["status"] == "canceled"


async def test_a_renewal_in_the_old_shape_names_the_former_period(start: Start) -> None:
    box = await start(shape="2024")
    seed(box.sandbox)
    subscription = await box.subscribed()
    period = subscription["items"]["data"][0]
    box.sandbox.renew(subscription["id"])
    await until(lambda: box.sandbox.deliveries.idle, "all delivered")
    events = await box.ok("GET", "/v1/events", {"type": "customer.subscription.updated"})
    previous = events["data"][0]["data"]["previous_attributes"]
    assert previous["current_period_end"] == period["current_period_end"]
    assert "current_period_end" not in previous["items"]["data"][0]
    assert events["data"][0]["data"]["object"]["current_period_start"] == period["current_period_end"]


async def test_a_sent_invoice_is_due_and_not_charged(box: Box) -> None:
    subscription = await box.subscribed()
    path = f"/v1/subscriptions/{subscription['id']}"
    assert (await box.call("POST", path, {"collection_method": "send_invoice"}))[0] == 400
    await box.ok("POST", path, {"collection_method": "send_invoice", "days_until_due": 3})
    box.sandbox.advance(32 * DAY)
    [sent, _] = (await box.ok("GET", "/v1/invoices", {"subscription": subscription["id"]}))["data"]
    finalized_at = sent["status_transitions"]["finalized_at"]
    assert (sent["status"], sent["attempt_count"], sent["due_date"]) == ("open", 0, finalized_at + 3 * DAY)
    box.sandbox.advance(3 * DAY)
    assert (await box.subscription(subscription["id"]))["status"] == "past_due"
    assert box.sandbox.state.all("event")[-2]["type"] == "invoice.overdue"
    await box.ok("POST", f"/v1/invoices/{sent['id']}/pay", {"paid_out_of_band": True})
    assert (await box.subscription(subscription["id"]))["status"] == "active"


async def test_an_open_invoice_may_become_uncollectible_and_stays_owed(box: Box) -> None:
    subscription = await box.subscribed()
    failed = box.sandbox.fail_next_renewal(subscription["id"])
    assert failed is not None
    path = f"/v1/invoices/{failed['id']}"
    given_up = await box.ok("POST", f"{path}/mark_uncollectible")
    assert (given_up["status"], given_up["auto_advance"]) == ("uncollectible", False)
    assert (await box.call("POST", f"{path}/mark_uncollectible"))[0] == 400
    assert (await box.subscription(subscription["id"]))["status"] == "past_due"


async def test_an_invoice_that_the_balance_pays_is_paid_without_a_charge(box: Box) -> None:
    subscription = await box.subscribed()
    await box.ok("POST", f"/v1/customers/{subscription['customer']}", {"balance": -2000})
    invoice = box.sandbox.renew(subscription["id"])
    assert invoice is not None
    assert (invoice["status"], invoice["total"], invoice["amount_paid"]) == ("paid", 2000, 0)
