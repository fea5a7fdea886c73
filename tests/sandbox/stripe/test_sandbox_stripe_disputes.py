"""Charges, refunds, disputes and fraud warnings, as Stripe has them; whatever passes is held against its types."""

from __future__ import annotations

import pytest
import stripe
from stripe_openapi import object_problems
from stripe_stage import Box, Json

from gateway.sandbox.stripe import charges, disputes
from gateway.sandbox.stripe.refusal import ApiError

PARAMS = {
    "GET /v1/charges": stripe.params.ChargeListParams,
    "GET /v1/charges/{}/refunds": stripe.params.ChargeListRefundsParams,
    "POST /v1/refunds": stripe.params.RefundCreateParams,
    "GET /v1/disputes": stripe.params.DisputeListParams,
    "GET /v1/radar/early_fraud_warnings": stripe.params.radar.EarlyFraudWarningListParams,
}


async def control(box: Box, path: str, **sent: object) -> Json:
    async with box.http.post(f"{box.url}/_sandbox/{path}", json=sent) as response:
        answer: Json = await response.json()
        assert response.status == 200, answer
        return answer


async def charge_of(box: Box, subscription: Json) -> Json:
    """The way from a subscription to its charge, as since basil: over the invoice's payments."""
    query = {"invoice": subscription["latest_invoice"]}
    payment = (await box.ok("GET", "/v1/invoice_payments", query))["data"][0]["payment"]
    found = await box.ok("GET", "/v1/charges", {"payment_intent": payment["payment_intent"]})
    return found["data"][0]


def since(box: Box, count: int) -> list[Json]:
    return box.sandbox.state.all("event")[count:]


@pytest.mark.parametrize("route", [*charges.ROUTES, *disputes.ROUTES], ids=lambda route: f"{route.method} {route.path}")
def test_every_call_takes_only_what_stripes_library_sends(route) -> None:
    params = PARAMS.get(f"{route.method} {route.path}")
    assert set(route.spec.keys) <= (set(params.__annotations__) if params else set())


async def test_paying_an_invoice_leaves_a_charge_that_leads_back_to_it(box: Box) -> None:
    subscription = await box.subscribed()
    charge = await charge_of(box, subscription)
    assert (charge["amount"], charge["currency"], charge["customer"]) == (2000, "usd", subscription["customer"])
    assert (charge["paid"], charge["refunded"], charge["disputed"]) == (True, False, False)
    assert "invoice" not in charge
    query = {"payment[type]": "payment_intent", "payment[payment_intent]": charge["payment_intent"]}
    payments = await box.ok("GET", "/v1/invoice_payments", {**query, "expand[]": "data.invoice"})
    assert [each["invoice"]["id"] for each in payments["data"]] == [subscription["latest_invoice"]]
    none = await box.ok("GET", "/v1/invoice_payments", {**query, "payment[payment_intent]": "pi_other"})
    assert none["data"] == []
    listed = await box.ok("GET", "/v1/charges", {"customer": subscription["customer"]})
    assert [each["id"] for each in listed["data"]] == [charge["id"]]


async def test_a_dispute_takes_the_money_and_a_won_one_brings_it_back(box: Box) -> None:
    subscription = await box.subscribed()
    charge, before = await charge_of(box, subscription), len(box.sandbox.state.all("event"))
    opened = (await control(box, "dispute", subscription=subscription["id"]))["dispute"]
    assert (opened["charge"], opened["amount"], opened["status"]) == (charge["id"], 2000, "needs_response")
    assert "customer" not in opened
    for status in ("under_review", "won"):
        moved = (await control(box, "dispute", subscription=subscription["id"], status=status))["dispute"]
        assert (moved["id"], moved["status"]) == (opened["id"], status)
    assert [(event["type"], event["data"]["object"]["status"]) for event in since(box, before)] == [
        ("charge.dispute.created", "needs_response"),
        ("charge.dispute.funds_withdrawn", "needs_response"),
        ("charge.dispute.updated", "under_review"),
        ("charge.dispute.closed", "won"),
        ("charge.dispute.funds_reinstated", "won"),
    ]
    assert since(box, before)[3]["data"]["previous_attributes"] == {"status": "under_review"}
    assert (await box.subscription(subscription["id"]))["status"] == "active"
    read = await box.ok("GET", f"/v1/disputes/{opened['id']}", {"expand[]": "charge"})
    assert (read["charge"]["id"], read["charge"]["customer"]) == (charge["id"], subscription["customer"])
    assert read["charge"]["disputed"] is True
    assert [each["amount"] for each in read["balance_transactions"]] == [-2000, 2000]
    assert [each["id"] for each in (await box.ok("GET", "/v1/disputes", {"charge": charge["id"]}))["data"]] == [
        opened["id"]
    ]
    assert (await box.ok("GET", "/v1/disputes", {"charge": "ch_other"}))["data"] == []


async def test_an_inquiry_takes_no_money(box: Box) -> None:
    subscription = await box.subscribed()
    before = len(box.sandbox.state.all("event"))
    dispute = box.sandbox.dispute(subscription["id"], "warning_needs_response")
    closed = box.sandbox.dispute(subscription["id"], "warning_closed")
    assert (dispute["status"], closed["status"], closed["balance_transactions"]) == (
        "warning_needs_response",
        "warning_closed",
        [],
    )
    assert [event["type"] for event in since(box, before)] == ["charge.dispute.created", "charge.dispute.closed"]


async def test_accepting_a_dispute_loses_it_once(box: Box) -> None:
    dispute = box.sandbox.dispute((await box.subscribed())["id"])
    assert (await box.ok("POST", f"/v1/disputes/{dispute['id']}/close"))["status"] == "lost"
    status, answer = await box.call("POST", f"/v1/disputes/{dispute['id']}/close")
    assert (status, answer["error"]["message"]) == (400, "This dispute is already closed.")


async def test_a_refund_in_part_and_then_of_the_rest(box: Box) -> None:
    subscription = await box.subscribed()
    charge, before = await charge_of(box, subscription), len(box.sandbox.state.all("event"))
    part = (await control(box, "refund", subscription=subscription["id"], amount=500))["refund"]
    assert (part["amount"], part["charge"], part["status"]) == (500, charge["id"], "succeeded")
    rest = await box.ok("POST", "/v1/refunds", {"charge": charge["id"], "reason": "requested_by_customer"})
    assert (await box.ok("GET", f"/v1/refunds/{rest['id']}"))["amount"] == 1500
    announced = [event for event in since(box, before) if event["type"] == "charge.refunded"]
    assert [each["data"]["object"]["refunded"] for each in announced] == [False, True]
    assert announced[1]["data"]["previous_attributes"] == {"amount_refunded": 500, "refunded": False}
    assert (await box.subscription(subscription["id"]))["status"] == "active"
    status, answer = await box.call("POST", "/v1/refunds", {"payment_intent": charge["payment_intent"]})
    assert (status, answer["error"]["code"]) == (400, "charge_already_refunded")


async def test_more_than_was_paid_is_not_given_back(box: Box) -> None:
    charge = await charge_of(box, await box.subscribed())
    status, answer = await box.call("POST", "/v1/refunds", {"charge": charge["id"], "amount": 2001})
    assert (status, answer["error"]["param"]) == (400, "amount")
    assert (await box.ok("GET", f"/v1/charges/{charge['id']}"))["amount_refunded"] == 0


async def test_a_fraud_warning_asks_for_something_until_the_money_is_back(box: Box) -> None:
    subscription = await box.subscribed()
    warning = (await control(box, "fraud_warning", subscription=subscription["id"]))["early_fraud_warning"]
    assert warning["actionable"] is True
    listed = await box.ok("GET", "/v1/radar/early_fraud_warnings", {"charge": warning["charge"]})
    assert [each["id"] for each in listed["data"]] == [warning["id"]]
    path = f"/v1/radar/early_fraud_warnings/{warning['id']}"
    assert (await box.ok("GET", path, {"expand[]": "charge"}))["charge"]["customer"] == subscription["customer"]
    box.sandbox.refund(subscription["id"])
    assert (await box.ok("GET", path))["actionable"] is False
    assert box.event_types()[-1] == "radar.early_fraud_warning.updated"


async def test_what_was_never_charged_is_not_disputed(box: Box) -> None:
    customer = await box.customer(email="ada@example.com")
    trial = {"customer": customer["id"], "items[0][price]": "price_pro", "trial_period_days": 7}
    subscription = await box.ok("POST", "/v1/subscriptions", trial)
    for sent in ({"subscription": subscription["id"]}, {"subscription": subscription["id"], "amount": 0}, {}):
        for path in ("dispute", "refund", "fraud_warning"):
            async with box.http.post(f"{box.url}/_sandbox/{path}", json=sent) as response:
                assert response.status == 400
    with pytest.raises(ApiError):
        box.sandbox.dispute((await box.subscribed())["id"], "angry")


async def test_the_guard_over_these_objects_is_awake(box: Box) -> None:
    subscription = await box.subscribed()
    charge = await charge_of(box, subscription)
    dispute, warning = box.sandbox.dispute(subscription["id"]), box.sandbox.warn_of_fraud(subscription["id"])
    for good in (charge, dispute, warning):
        assert object_problems(good) == []
        assert object_problems({**good, "mood": "bad"}) != []
        assert object_problems({**good, "livemode": None}) != []
        assert object_problems({"object": "list", "data": [{**good, "mood": "bad"}]}) != []
