"""Checkout: the session, its page, and what paying, failing and leaving leave behind."""

from __future__ import annotations

from stripe_stage import Box


async def test_paying_makes_an_active_subscription_and_sends_the_buyer_back(box: Box) -> None:
    customer = await box.customer(email="ada@example.com", **{"metadata[user_id]": "u1"})
    session = await box.checkout(
        customer["id"], "price_pro", **{"subscription_data[metadata][user_id]": "u1", "metadata[app_id]": "skai"}
    )
    assert session["status"] == "open"
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
    assert subscription["items"]["data"][0]["price"]["id"] == "price_pro"
    assert "current_period_end" not in subscription
    invoice = await box.ok("GET", f"/v1/invoices/{subscription['latest_invoice']}")
    assert (invoice["status"], invoice["amount_paid"], invoice["billing_reason"]) == (
        "paid",
        2000,
        "subscription_create",
    )
    assert invoice["parent"]["subscription_details"] == {
        "metadata": {"user_id": "u1"},
        "subscription": subscription["id"],
    }
