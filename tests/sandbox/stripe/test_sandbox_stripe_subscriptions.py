"""Subscriptions over the API: created, listed, changed, canceled, paused."""

from __future__ import annotations

from typing import Any

import pytest
from stripe_stage import DAY, Box

Json = dict[str, Any]


async def _create(box: Box, customer_id: str, **form: Any) -> tuple[int, Json]:
    return await box.call(
        "POST", "/v1/subscriptions", {"customer": customer_id, "items[0][price]": "price_pro", **form}
    )


async def _update(box: Box, subscription: Json, **form: Any) -> Json:
    return await box.ok("POST", f"/v1/subscriptions/{subscription['id']}", form)


@pytest.mark.parametrize(
    ("card", "behavior", "status", "outcome"),
    [
        ("ok", "allow_incomplete", 200, "active"),
        ("fail", "allow_incomplete", 200, "incomplete"),
        ("ok", "error_if_incomplete", 200, "active"),
        ("fail", "error_if_incomplete", 402, "card_declined"),
        ("ok", "default_incomplete", 200, "incomplete"),
        ("none", "allow_incomplete", 400, "resource_missing"),
    ],
)
async def test_creating_by_card_and_behavior(box: Box, card: Any, behavior: str, status: int, outcome: str) -> None:
    customer = await box.customer()
    box.sandbox.set_card(customer["id"], card)
    got, answer = await _create(box, customer["id"], payment_behavior=behavior)
    assert (got, answer["status"] if got == 200 else answer["error"]["code"]) == (status, outcome)
    if got != 200:
        assert (await box.ok("GET", "/v1/subscriptions", {"status": "all"}))["data"] == []


async def test_paying_the_first_invoice_completes_an_incomplete_one(box: Box) -> None:
    customer = await box.customer()
    box.sandbox.set_card(customer["id"], "fail")
    _, subscription = await _create(box, customer["id"])
    box.sandbox.set_card(customer["id"], "ok")
    invoice = await box.ok("POST", f"/v1/invoices/{subscription['latest_invoice']}/pay")
    assert invoice["status"] == "paid"
    assert (await box.subscription(subscription["id"]))["status"] == "active"


async def test_an_incomplete_one_is_over_after_23_hours(box: Box) -> None:
    customer = await box.customer()
    box.sandbox.set_card(customer["id"], "fail")
    _, subscription = await _create(box, customer["id"])
    box.sandbox.advance(23 * 3600 - 60)
    assert (await box.subscription(subscription["id"]))["status"] == "incomplete"
    box.sandbox.advance(120)
    assert (await box.subscription(subscription["id"]))["status"] == "incomplete_expired"
    assert (await box.ok("GET", f"/v1/invoices/{subscription['latest_invoice']}"))["status"] == "void"


async def test_the_default_list_leaves_out_canceled_ones(box: Box) -> None:
    """sync-engine-fork#399: without status=all a reconciler never learns that somebody left."""
    gone = await box.subscribed()
    stays = await box.subscribed("price_123")
    await box.ok("DELETE", f"/v1/subscriptions/{gone['id']}")

    async def ids(**form: Any) -> list[str]:
        return [each["id"] for each in (await box.ok("GET", "/v1/subscriptions", form))["data"]]

    assert await ids() == [stays["id"]]
    assert await ids(status="all") == [stays["id"], gone["id"]]
    assert await ids(status="canceled") == await ids(status="ended") == [gone["id"]]
    assert await ids(status="all", customer=gone["customer"]) == [gone["id"]]
    assert await ids(price="price_123") == [stays["id"]]


async def test_canceling_now_ends_it_once(box: Box) -> None:
    subscription = await box.subscribed()
    path = f"/v1/subscriptions/{subscription['id']}"
    gone = await box.ok("DELETE", path, {"cancellation_details[feedback]": "too_expensive"})
    assert (gone["status"], gone["cancellation_details"]["reason"]) == ("canceled", "cancellation_requested")
    assert gone["ended_at"] == gone["canceled_at"] is not None
    assert gone["cancellation_details"]["feedback"] == "too_expensive"
    assert box.event_types()[-1] == "customer.subscription.deleted"
    status, answer = await box.call("DELETE", path)
    assert (status, answer["error"]["code"]) == (404, "resource_missing")
    status, _ = await box.call("POST", path, {"cancel_at_period_end": True})
    assert status == 400


async def test_at_period_end_by_flag_and_by_date(box: Box) -> None:
    subscription = await box.subscribed()
    ends = subscription["items"]["data"][0]["current_period_end"]
    flagged = await _update(box, subscription, cancel_at_period_end=True)
    assert (flagged["cancel_at_period_end"], flagged["cancel_at"], flagged["status"]) == (True, ends, "active")
    kept = await _update(box, subscription, cancel_at_period_end=False)
    assert (kept["cancel_at_period_end"], kept["cancel_at"], kept["canceled_at"]) == (False, None, None)
    dated = await _update(box, subscription, cancel_at="min_period_end")
    assert (dated["cancel_at_period_end"], dated["cancel_at"]) == (False, ends)
    kept = await _update(box, subscription, cancel_at="")
    assert kept["cancel_at"] is None
    soon = await _update(box, subscription, cancel_at=subscription["created"] + DAY)
    assert soon["cancel_at"] == subscription["created"] + DAY
    box.sandbox.advance(DAY + 1)
    assert (await box.subscription(subscription["id"]))["status"] == "canceled"


async def test_an_item_without_its_id_is_one_more_item(box: Box) -> None:
    """Stripe's own trap: the subscriber would pay for both."""
    subscription = await box.subscribed()
    both = await _update(box, subscription, **{"items[0][price]": "price_123"})
    assert [item["price"]["id"] for item in both["items"]["data"]] == ["price_pro", "price_123"]
    item = both["items"]["data"][0]
    one = await _update(box, subscription, **{"items[0][id]": item["id"], "items[0][deleted]": True})
    assert [item["price"]["id"] for item in one["items"]["data"]] == ["price_123"]
    listed = await box.ok("GET", "/v1/subscription_items", {"subscription": subscription["id"]})
    assert listed["data"] == one["items"]["data"]
    alone = await box.ok("GET", f"/v1/subscription_items/{listed['data'][0]['id']}")
    assert alone == listed["data"][0]


@pytest.mark.parametrize(
    ("proration", "invoices", "amounts"),
    [("none", 1, []), ("create_prorations", 1, []), ("always_invoice", 2, [-1000, 2500])],
)
async def test_an_upgrade_halfway_is_prorated_as_asked(
    box: Box, proration: str, invoices: int, amounts: list[int]
) -> None:
    """T17: with `none`, Stripe's default in the portal, the rest of the month is a gift."""
    subscription = await box.subscribed()
    item = subscription["items"]["data"][0]
    box.sandbox.advance((item["current_period_end"] - item["current_period_start"]) // 2)
    changed = await _update(
        box,
        subscription,
        **{"items[0][id]": item["id"], "items[0][price]": "price_123", "proration_behavior": proration},
    )
    assert (changed["status"], changed["items"]["data"][0]["price"]["id"]) == ("active", "price_123")
    listed = (await box.ok("GET", "/v1/invoices", {"subscription": subscription["id"]}))["data"]
    assert len(listed) == invoices
    if amounts:
        got = [line["amount"] for line in listed[0]["lines"]["data"]]
        assert [abs(a - b) <= 1 for a, b in zip(got, amounts, strict=True)] == [True, True]
        assert listed[0]["billing_reason"] == "subscription_update"
    box.sandbox.advance(17 * DAY)
    renewal = (await box.ok("GET", "/v1/invoices", {"subscription": subscription["id"]}))["data"][0]
    assert (renewal["billing_reason"], renewal["total"] == 5000) == (
        "subscription_cycle",
        proration != "create_prorations",
    )


@pytest.mark.parametrize(
    ("behavior", "status", "subscription_status", "price_id"),
    [
        ("allow_incomplete", 200, "past_due", "price_123"),
        ("error_if_incomplete", 402, "active", "price_pro"),
        ("pending_if_incomplete", 200, "active", "price_pro"),
    ],
)
async def test_an_upgrade_that_is_not_paid(
    box: Box, behavior: str, status: int, subscription_status: str, price_id: str
) -> None:
    """T17: only the default shows the new price, and then it is past_due."""
    subscription = await box.subscribed()
    box.sandbox.set_card(subscription["customer"], "fail")
    got, _ = await box.call(
        "POST",
        f"/v1/subscriptions/{subscription['id']}",
        {
            "items[0][id]": subscription["items"]["data"][0]["id"],
            "items[0][price]": "price_123",
            "proration_behavior": "always_invoice",
            "payment_behavior": behavior,
        },
    )
    now = await box.subscription(subscription["id"])
    assert (got, now["status"], now["items"]["data"][0]["price"]["id"]) == (status, subscription_status, price_id)
    assert (now["pending_update"] is not None) == (behavior == "pending_if_incomplete")
    if behavior == "pending_if_incomplete":
        assert now["pending_update"]["subscription_items"][0]["price"]["id"] == "price_123"


async def _pending(box: Box) -> Json:
    subscription = await box.subscribed()
    box.sandbox.set_card(subscription["customer"], "fail")
    return await _update(
        box,
        subscription,
        **{
            "items[0][id]": subscription["items"]["data"][0]["id"],
            "items[0][price]": "price_123",
            "proration_behavior": "always_invoice",
            "payment_behavior": "pending_if_incomplete",
        },
    )


async def test_a_pending_update_comes_into_force_when_paid(box: Box) -> None:
    pending = await _pending(box)
    await box.ok("POST", f"/v1/invoices/{pending['latest_invoice']}/pay", {"paid_out_of_band": True})
    now = await box.subscription(pending["id"])
    assert (now["pending_update"], now["items"]["data"][0]["price"]["id"]) == (None, "price_123")
    assert "customer.subscription.pending_update_applied" in box.event_types()


async def test_a_pending_update_expires_unpaid(box: Box) -> None:
    pending = await _pending(box)
    box.sandbox.advance(23 * 3600 + 1)
    now = await box.subscription(pending["id"])
    assert (now["pending_update"], now["items"]["data"][0]["price"]["id"]) == (None, "price_pro")
    assert (await box.ok("GET", f"/v1/invoices/{pending['latest_invoice']}"))["status"] == "void"
    assert "customer.subscription.pending_update_expired" in box.event_types()


async def test_another_interval_starts_a_new_period_and_is_billed_at_once(box: Box) -> None:
    subscription = await box.subscribed()
    item = subscription["items"]["data"][0]
    box.sandbox.advance(10 * DAY)
    changed = await _update(box, subscription, **{"items[0][id]": item["id"], "items[0][price]": "price_pro_year"})
    period = changed["items"]["data"][0]
    assert period["current_period_start"] >= item["current_period_start"] + 10 * DAY
    assert period["current_period_end"] - period["current_period_start"] in (365 * DAY, 366 * DAY)
    invoice = await box.ok("GET", f"/v1/invoices/{changed['latest_invoice']}")
    assert [line["amount"] > 0 for line in invoice["lines"]["data"]] == [False, True]
    assert invoice["status"] == "paid"


async def test_a_credit_is_kept_for_the_next_invoice(box: Box) -> None:
    subscription = await box.subscribed("price_123")
    item = subscription["items"]["data"][0]
    await _update(
        box,
        subscription,
        **{"items[0][id]": item["id"], "items[0][price]": "price_pro", "proration_behavior": "always_invoice"},
    )
    customer = await box.ok("GET", f"/v1/customers/{subscription['customer']}")
    assert -3001 <= customer["balance"] <= -2990
    box.sandbox.advance(32 * DAY)
    renewal = (await box.ok("GET", "/v1/invoices", {"subscription": subscription["id"]}))["data"][0]
    assert (renewal["total"], renewal["amount_due"], renewal["status"]) == (2000, 0, "paid")
    assert renewal["ending_balance"] == customer["balance"] + 2000


async def test_a_preview_changes_nothing(box: Box) -> None:
    subscription = await box.subscribed()
    before = box.sandbox.snapshot()
    preview = await box.ok(
        "POST",
        "/v1/invoices/create_preview",
        {
            "subscription": subscription["id"],
            "subscription_details[items][0][id]": subscription["items"]["data"][0]["id"],
            "subscription_details[items][0][price]": "price_123",
            "subscription_details[proration_behavior]": "always_invoice",
        },
    )
    assert 2990 <= preview["amount_due"] <= 3000
    assert box.sandbox.snapshot() == before
    plain = await box.ok("POST", "/v1/invoices/create_preview", {"subscription": subscription["id"]})
    assert (plain["amount_due"], plain["billing_reason"]) == (2000, "upcoming")


async def test_pause_collection_stays_active_and_voids_renewals(box: Box) -> None:
    subscription = await box.subscribed()
    paused = await _update(box, subscription, **{"pause_collection[behavior]": "void"})
    assert (paused["status"], paused["pause_collection"]) == ("active", {"behavior": "void", "resumes_at": None})
    box.sandbox.advance(32 * DAY)
    newest = (await box.ok("GET", "/v1/invoices", {"subscription": subscription["id"]}))["data"][0]
    assert newest["status"] == "void"
    assert (await box.subscription(subscription["id"]))["status"] == "active"
    resumed = await _update(box, subscription, pause_collection="")
    assert resumed["pause_collection"] is None


async def test_pause_collection_ends_by_itself(box: Box) -> None:
    subscription = await box.subscribed()
    resumes_at = subscription["created"] + 40 * DAY
    form = {"pause_collection[behavior]": "keep_as_draft", "pause_collection[resumes_at]": resumes_at}
    await _update(box, subscription, **form)
    box.sandbox.advance(35 * DAY)
    newest = (await box.ok("GET", "/v1/invoices", {"subscription": subscription["id"]}))["data"][0]
    assert (newest["status"], newest["auto_advance"]) == ("draft", False)
    box.sandbox.advance(6 * DAY)
    assert (await box.subscription(subscription["id"]))["pause_collection"] is None


async def test_the_pause_call_and_its_resume(box: Box) -> None:
    """endive: status `paused`, which is not the end."""
    subscription = await box.subscribed()
    paused = await box.ok("POST", f"/v1/subscriptions/{subscription['id']}/pause")
    assert paused["status"] == "paused"
    assert paused["status_details"]["paused"]["subscription"]["type"] == "pause_requested"
    box.sandbox.advance(40 * DAY)
    assert len((await box.ok("GET", "/v1/invoices", {"subscription": subscription["id"]}))["data"]) == 1
    resumed = await box.ok("POST", f"/v1/subscriptions/{subscription['id']}/resume")
    assert (resumed["status"], resumed["status_details"]) == ("active", None)
    assert len((await box.ok("GET", "/v1/invoices", {"subscription": subscription["id"]}))["data"]) == 2
    assert {"customer.subscription.paused", "customer.subscription.resumed"} <= set(box.event_types())
    status, _ = await box.call("POST", f"/v1/subscriptions/{subscription['id']}/resume")
    assert status == 400
