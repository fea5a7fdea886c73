"""What time alone brings."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from stripe_stage import DAY, Box, Start, seed

from gateway.sandbox.stripe import Settings, periods

Json = dict[str, Any]


def _at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("anchor", "interval", "count", "steps", "expected"),
    [
        ("2026-01-31T10:00", "month", 1, 1, "2026-02-28T10:00"),
        ("2026-01-31T10:00", "month", 1, 2, "2026-03-31T10:00"),
        ("2024-02-29T00:00", "year", 1, 1, "2025-02-28T00:00"),
        ("2026-11-15T00:00", "month", 3, 1, "2027-02-15T00:00"),
        ("2026-12-31T00:00", "week", 2, 1, "2027-01-14T00:00"),
        ("2026-12-31T00:00", "day", 1, 1, "2027-01-01T00:00"),
    ],
)
def test_periods_follow_the_calendar(anchor: str, interval: str, count: int, steps: int, expected: str) -> None:
    assert periods.after(_at(anchor), interval, count, steps) == _at(expected)


def test_the_day_of_the_anchor_comes_back_after_a_short_month() -> None:
    anchor = _at("2026-01-31T10:00")
    assert periods.end_after(anchor, "month", 1, _at("2026-02-28T10:00")) == _at("2026-03-31T10:00")


async def _newest(box: Box, subscription: Json) -> Json:
    listed = await box.ok("GET", "/v1/invoices", {"subscription": subscription["id"]})
    newest: Json = listed["data"][0]
    return newest


async def test_a_renewal_is_a_draft_for_an_hour_and_then_paid(box: Box) -> None:
    """The period moves on before anything is paid."""
    subscription = await box.subscribed()
    ends = subscription["items"]["data"][0]["current_period_end"]
    box.sandbox.advance(ends - box.sandbox.state.time() + 1)
    renewed = await box.subscription(subscription["id"])
    assert renewed["items"]["data"][0]["current_period_start"] == ends
    assert renewed["status"] == "active"
    draft = await _newest(box, subscription)
    assert (draft["status"], draft["billing_reason"], draft["created"]) == ("draft", "subscription_cycle", ends)
    box.sandbox.advance(3600)
    paid = await box.ok("GET", f"/v1/invoices/{draft['id']}")
    assert (paid["status"], paid["status_transitions"]["paid_at"]) == ("paid", ends + 3600)


async def test_a_year_of_months_is_twelve_renewals(box: Box) -> None:
    subscription = await box.subscribed()
    box.sandbox.advance(366 * DAY)
    listed = await box.ok("GET", "/v1/invoices", {"subscription": subscription["id"], "limit": 100})
    assert {invoice["status"] for invoice in listed["data"]} == {"paid"}
    assert len(listed["data"]) == 13
    made = [event["created"] for event in box.sandbox.state.all("event")]
    assert made == sorted(made)


async def test_a_failing_card_is_retried_and_then_the_subscription_is_canceled(box: Box) -> None:
    subscription = await box.subscribed()
    box.sandbox.set_card(subscription["customer"], "fail")
    ends = subscription["items"]["data"][0]["current_period_end"]
    box.sandbox.advance(ends - box.sandbox.state.time() + 3601)
    invoice = await _newest(box, subscription)
    failed_at = ends + 3600
    assert (invoice["status"], invoice["attempt_count"]) == ("open", 1)
    assert invoice["next_payment_attempt"] == failed_at + 3 * DAY
    assert (await box.subscription(subscription["id"]))["status"] == "past_due"
    box.sandbox.advance(3 * DAY)
    invoice = await _newest(box, subscription)
    assert (invoice["attempt_count"], invoice["next_payment_attempt"]) == (2, failed_at + 8 * DAY)
    box.sandbox.advance(12 * DAY)
    gone = await box.subscription(subscription["id"])
    assert (gone["status"], gone["cancellation_details"]["reason"]) == ("canceled", "payment_failed")
    assert gone["ended_at"] == failed_at + 15 * DAY
    invoice = await box.ok("GET", f"/v1/invoices/{invoice['id']}")
    assert (invoice["status"], invoice["attempt_count"], invoice["auto_advance"]) == ("open", 4, False)


@pytest.mark.parametrize(
    ("after", "status"), [("cancel", "canceled"), ("unpaid", "unpaid"), ("past_due", "past_due"), ("pause", "paused")]
)
async def test_what_follows_the_last_retry_is_a_setting(start: Start, after: Any, status: str) -> None:
    box = await start(settings=Settings(dunning_days=(1,), after_dunning=after))
    seed(box.sandbox)
    subscription = await box.subscribed()
    box.sandbox.fail_next_renewal(subscription["id"])
    assert (await box.subscription(subscription["id"]))["status"] == "past_due"
    box.sandbox.advance(DAY + 1)
    assert (await box.subscription(subscription["id"]))["status"] == status


async def test_a_retry_with_a_new_card_brings_it_back(box: Box) -> None:
    subscription = await box.subscribed()
    box.sandbox.fail_next_renewal(subscription["id"])
    box.sandbox.set_card(subscription["customer"], "ok")
    assert (await box.subscription(subscription["id"]))["status"] == "past_due"
    box.sandbox.advance(3 * DAY + 1)
    assert (await box.subscription(subscription["id"]))["status"] == "active"
    assert (await _newest(box, subscription))["status"] == "paid"


async def test_paying_the_open_invoice_brings_it_back_at_once(box: Box) -> None:
    subscription = await box.subscribed()
    failed = box.sandbox.fail_next_renewal(subscription["id"])
    assert failed is not None
    assert failed["status"] == "open"
    paid = box.sandbox.pay_open_invoice(subscription["id"])
    assert paid is not None
    assert (paid["id"], paid["status"]) == (failed["id"], "paid")
    assert (await box.subscription(subscription["id"]))["status"] == "active"
    assert box.sandbox.pay_open_invoice(subscription["id"]) is None


async def test_a_card_that_requires_confirmation_is_reported(box: Box) -> None:
    """3D Secure on a renewal: the hosted invoice is where it is confirmed."""
    subscription = await box.subscribed()
    box.sandbox.renew(subscription["id"], "action")
    assert "invoice.payment_action_required" in box.event_types()
    invoice = await _newest(box, subscription)
    assert (await box.page(invoice["hosted_invoice_url"]))[0] == 200
    assert (await box.click(invoice["hosted_invoice_url"], action="pay_fail"))[0] == 402
    assert (await box.click(invoice["hosted_invoice_url"], action="pay"))[0] == 303
    assert (await box.subscription(subscription["id"]))["status"] == "active"


async def test_the_end_beats_the_renewal_of_the_same_instant(box: Box) -> None:
    subscription = await box.subscribed()
    await box.ok("POST", f"/v1/subscriptions/{subscription['id']}", {"cancel_at_period_end": True})
    box.sandbox.advance(32 * DAY)
    assert (await box.subscription(subscription["id"]))["status"] == "canceled"
    assert len((await box.ok("GET", "/v1/invoices", {"subscription": subscription["id"]}))["data"]) == 1


async def test_a_trial_is_warned_of_and_then_billed(box: Box) -> None:
    subscription = await box.subscribed(**{"subscription_data[trial_period_days]": 14})
    box.sandbox.advance(10 * DAY)
    assert "customer.subscription.trial_will_end" not in box.event_types()
    box.sandbox.advance(DAY + 1)
    assert box.event_types().count("customer.subscription.trial_will_end") == 1
    box.sandbox.advance(3 * DAY + 3600)
    assert (await box.subscription(subscription["id"]))["status"] == "active"
    assert ((await _newest(box, subscription))["amount_paid"], box.event_types()[-1]) == (
        2000,
        "invoice.payment_succeeded",
    )


@pytest.mark.parametrize(("behavior", "status"), [("cancel", "canceled"), ("pause", "paused")])
async def test_a_trial_without_a_card_ends_by_its_settings(box: Box, behavior: str, status: str) -> None:
    subscription = await box.subscribed(
        payment_method_collection="if_required",
        **{
            "subscription_data[trial_period_days]": 1,
            "subscription_data[trial_settings][end_behavior][missing_payment_method]": behavior,
        },
    )
    assert subscription["default_payment_method"] is None
    box.sandbox.advance(DAY + 1)
    assert (await box.subscription(subscription["id"]))["status"] == status


async def test_a_trial_whose_card_fails_becomes_past_due(box: Box) -> None:
    """T18: it was active for an hour and never paid."""
    subscription = await box.subscribed(**{"subscription_data[trial_period_days]": 1})
    box.sandbox.set_card(subscription["customer"], "fail")
    box.sandbox.advance(DAY + 60)
    assert (await box.subscription(subscription["id"]))["status"] == "active"
    box.sandbox.advance(3600)
    assert (await box.subscription(subscription["id"]))["status"] == "past_due"


async def test_a_month_more_while_past_due_leaves_two_open_invoices(start: Start) -> None:
    box = await start(settings=Settings(after_dunning="past_due"))
    seed(box.sandbox)
    subscription = await box.subscribed()
    box.sandbox.set_card(subscription["customer"], "fail")
    box.sandbox.advance(64 * DAY)
    still_open = await box.ok("GET", "/v1/invoices", {"customer": subscription["customer"], "status": "open"})
    assert len(still_open["data"]) == 2
    assert (await box.subscription(subscription["id"]))["status"] == "past_due"


async def test_time_that_simply_passes_counts_too(start: Start) -> None:
    moment = [1_800_000_000.0]
    box = await start(now=lambda: moment[0])
    seed(box.sandbox)
    subscription = await box.subscribed()
    moment[0] += 40 * DAY
    assert len((await box.ok("GET", "/v1/invoices", {"subscription": subscription["id"]}))["data"]) == 2
