"""Checkout: the session, its page, and what paying, failing and leaving leave behind."""

from __future__ import annotations

import pytest
from stripe_stage import DAY, Box, Start, seed


async def test_paying_makes_an_active_subscription_and_sends_the_buyer_back(box: Box) -> None:
    customer = await box.customer(email="ada@example.com", **{"metadata[user_id]": "u1"})
    session = await box.checkout(
        customer["id"], "price_pro", **{"subscription_data[metadata][user_id]": "u1", "metadata[app_id]": "skai"}
    )
    assert (session["status"], session["payment_status"], session["mode"]) == ("open", "unpaid", "subscription")
    assert session["url"] == f"{box.url}/c/pay/{session['id']}"
    status, text = await box.page(session["url"])
    assert status == 200
    assert "SANDBOX" in text
    assert "Pro, 20.00 USD per month" in text
    status, location, _ = await box.click(session["url"], action="pay")
    assert (status, location) == (303, f"http://app.test/done?session={session['id']}")
    session = await box.ok("GET", f"/v1/checkout/sessions/{session['id']}", {"expand[0]": "subscription"})
    assert (session["status"], session["payment_status"], session["url"]) == ("complete", "paid", None)
    assert session["metadata"] == {"app_id": "skai"}
    subscription = session["subscription"]
    assert subscription["status"] == "active"
    assert subscription["metadata"] == {"user_id": "u1"}
    assert subscription["billing_mode"]["type"] == "flexible"
    assert subscription["items"]["data"][0]["price"]["id"] == "price_pro"
    assert "current_period_end" not in subscription
    invoice = await box.ok("GET", f"/v1/invoices/{subscription['latest_invoice']}", {"expand[]": "payments"})
    assert (invoice["status"], invoice["amount_paid"], invoice["billing_reason"]) == (
        "paid",
        2000,
        "subscription_create",
    )
    assert "subscription" not in invoice
    assert invoice["parent"]["subscription_details"] == {
        "metadata": {"user_id": "u1"},
        "subscription": subscription["id"],
    }
    assert [payment["amount_paid"] for payment in invoice["payments"]["data"]] == [2000]


async def test_metadata_of_the_session_does_not_reach_the_subscription(box: Box) -> None:
    subscription = await box.subscribed(**{"metadata[user_id]": "u1"})
    assert subscription["metadata"] == {}


async def test_a_failing_card_leaves_no_subscription_behind(box: Box) -> None:
    """Since basil; the session stays open and can still be paid."""
    customer = await box.customer()
    session = await box.checkout(customer["id"], "price_pro")
    status, _, text = await box.click(session["url"], action="pay_fail")
    assert status == 402
    assert "Your card was declined." in text
    listed = await box.ok("GET", "/v1/subscriptions", {"customer": customer["id"], "status": "all"})
    assert listed["data"] == []
    assert (await box.ok("GET", f"/v1/checkout/sessions/{session['id']}"))["status"] == "open"
    assert (await box.click(session["url"], action="pay"))[0] == 303


async def test_leaving_goes_back_and_changes_nothing(box: Box) -> None:
    session = await box.checkout((await box.customer())["id"], "price_pro")
    assert (await box.click(session["url"], action="leave"))[:2] == (303, "http://app.test/left")
    assert (await box.ok("GET", f"/v1/checkout/sessions/{session['id']}"))["status"] == "open"


async def test_a_second_click_does_not_pay_twice(box: Box) -> None:
    customer = await box.customer()
    session = await box.checkout(customer["id"], "price_pro")
    await box.click(session["url"], action="pay")
    status, _, text = await box.click(session["url"], action="pay")
    assert status == 200
    assert "already been paid" in text
    assert len((await box.ok("GET", "/v1/subscriptions", {"customer": customer["id"]}))["data"]) == 1


async def test_two_open_sessions_can_both_be_paid(box: Box) -> None:
    """Stripe does not stop a second purchase: that is the integration's business (T21)."""
    customer = await box.customer()
    for _ in range(2):
        session = await box.checkout(customer["id"], "price_pro")
        assert (await box.click(session["url"], action="pay"))[0] == 303
    assert len((await box.ok("GET", "/v1/subscriptions", {"customer": customer["id"]}))["data"]) == 2


async def test_an_expired_session_cannot_be_paid(box: Box) -> None:
    session = await box.checkout((await box.customer())["id"], "price_pro")
    gone = await box.ok("POST", f"/v1/checkout/sessions/{session['id']}/expire")
    assert (gone["status"], gone["url"]) == ("expired", None)
    assert (await box.click(session["url"], action="pay"))[0] == 410
    status, answer = await box.call("POST", f"/v1/checkout/sessions/{session['id']}/expire")
    assert status == 400
    assert 'a status in ["open"]' in answer["error"]["message"]
    assert box.event_types()[-1] == "checkout.session.expired"


async def test_sessions_expire_by_themselves(box: Box) -> None:
    customer = await box.customer()
    day = await box.checkout(customer["id"], "price_pro")
    hour = await box.checkout(customer["id"], "price_pro", expires_at=day["created"] + 3600)
    box.sandbox.advance(3601)
    listed = await box.ok("GET", "/v1/checkout/sessions", {"customer": customer["id"], "status": "expired"})
    assert [each["id"] for each in listed["data"]] == [hour["id"]]
    box.sandbox.advance(DAY)
    listed = await box.ok("GET", "/v1/checkout/sessions", {"customer": customer["id"], "status": "open"})
    assert listed["data"] == []


async def test_without_a_customer_one_is_made_on_paying(box: Box) -> None:
    session = await box.ok(
        "POST",
        "/v1/checkout/sessions",
        {
            "mode": "subscription",
            "customer_email": "new@example.com",
            "client_reference_id": "u9",
            "line_items[0][price]": "price_pro",
            "line_items[0][quantity]": 2,
            "success_url": "http://app.test/done",
        },
    )
    assert session["customer"] is None
    assert (await box.click(session["url"], action="pay"))[:2] == (303, "http://app.test/done")
    paid = await box.ok("GET", f"/v1/checkout/sessions/{session['id']}", {"expand[]": "customer"})
    assert paid["customer"]["email"] == paid["customer_details"]["email"] == "new@example.com"
    assert (paid["client_reference_id"], paid["amount_total"]) == ("u9", 4000)
    lines = await box.ok("GET", f"/v1/checkout/sessions/{session['id']}/line_items")
    assert [line["quantity"] for line in lines["data"]] == [2]
    included = await box.ok("GET", f"/v1/checkout/sessions/{session['id']}", {"expand[]": "line_items"})
    assert included["line_items"]["data"] == lines["data"]


async def test_a_trial_costs_nothing_today(box: Box) -> None:
    subscription = await box.subscribed(**{"subscription_data[trial_period_days]": 14})
    assert subscription["status"] == "trialing"
    assert subscription["trial_end"] - subscription["trial_start"] == 14 * DAY
    invoice = await box.ok("GET", f"/v1/invoices/{subscription['latest_invoice']}")
    assert (invoice["total"], invoice["status"]) == (0, "paid")


@pytest.mark.parametrize("action", ["", "steal"])
async def test_an_unknown_button_does_nothing(box: Box, action: str) -> None:
    session = await box.checkout((await box.customer())["id"], "price_pro")
    assert (await box.click(session["url"], action=action))[0] == 400
    assert (await box.page(f"{box.url}/c/pay/cs_test_nothing"))[0] == 404


async def test_names_are_escaped_on_the_pages(box: Box) -> None:
    hostile = '<script>alert("x")</script>'
    product = box.sandbox.add_product(hostile)
    price = box.sandbox.add_price(product, 100)
    session = await box.checkout((await box.customer(name=hostile))["id"], price["id"])
    for url in (session["url"], f"{box.url}/"):
        _, text = await box.page(url)
        assert "<script" not in text
        assert "&lt;script&gt;" in text


@pytest.mark.parametrize(
    ("action", "payment", "status", "event"),
    [
        ("pay_later", "paid", "active", "checkout.session.async_payment_succeeded"),
        ("pay_later_fail", "unpaid", "past_due", "checkout.session.async_payment_failed"),
    ],
)
async def test_a_bank_debit_completes_unpaid_and_is_settled_later(
    box: Box, action: str, payment: str, status: str, event: str
) -> None:
    """Whoever grants from the completed session grants for nothing (facts/stripe.md §1.4)."""
    session = await box.checkout((await box.customer())["id"], "price_pro")
    path = f"/v1/checkout/sessions/{session['id']}"
    assert (await box.click(session["url"], action=action))[0] == 303
    done = await box.ok("GET", path, {"expand[0]": "subscription", "expand[1]": "invoice"})
    assert (done["status"], done["payment_status"]) == ("complete", "unpaid")
    assert (done["subscription"]["status"], done["invoice"]["status"]) == ("active", "open")
    box.sandbox.advance(3 * DAY + 1)
    assert (await box.ok("GET", path))["payment_status"] == payment
    assert (await box.subscription(done["subscription"]["id"]))["status"] == status
    assert event in box.event_types()


async def test_a_page_knows_what_time_it_is(start: Start) -> None:
    """Nobody asked the API in between: the page itself notices that its session is over."""
    moment = [1_800_000_000.0]
    box = await start(now=lambda: moment[0])
    seed(box.sandbox)
    session = await box.checkout((await box.customer())["id"], "price_pro")
    moment[0] += DAY + 1
    assert (await box.click(session["url"], action="pay"))[0] == 410
