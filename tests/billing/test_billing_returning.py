"""A second purchase: after the customer was deleted, and after a delayed payment failed."""

from __future__ import annotations

from typing import Any

import pytest
from servers.harness import DAY, Harness

from gateway.billing.checkout.portal import open_portal
from gateway.errors import NotFound
from gateway.sandbox.stripe.checkout import pay
from gateway.store import checkouts, customers

LISTED = pytest.mark.parametrize("listed", ["canceled", "empty", "missing"])
"""What Stripe may answer when a deleted customer's subscriptions are listed; its documentation does not say."""


def sessions(harness: Harness, status: str) -> list[dict[str, Any]]:
    return [each for each in harness.stripe.state.all("checkout.session") if each["status"] == status]


async def delete_customer(harness: Harness, listed: Any) -> str:
    harness.stripe.settings.deleted_customers_subscriptions = listed
    customer_id = await harness.customer_id("u1")
    await harness.billing.stripe.transport.delete(f"/v1/customers/{customer_id}")
    return customer_id


async def buys_again(harness: Harness, gone: str) -> None:
    link = await harness.checkout("u1", "pro")
    assert link.kind == "checkout"
    assert await harness.click(link.url, action="pay") == 303
    await harness.catch_up()
    assert await harness.tier("u1") == "pro"
    assert await harness.customer_id("u1") != gone
    assert await harness.alerts() == set()


@LISTED
@pytest.mark.parametrize("portal_first", [False, True])
@pytest.mark.parametrize("event_arrives", [False, True])
async def test_a_user_with_a_deleted_customer_gets_a_checkout(
    harness: Harness, listed: str, portal_first: bool, event_arrives: bool
) -> None:
    await harness.subscribed("u1", "pro")
    gone = await delete_customer(harness, listed)
    if event_arrives:
        await harness.catch_up()
        assert (await harness.tier("u1"), await harness.alerts()) == ("free", set())
    if portal_first:
        with pytest.raises(NotFound) as refused:
            await open_portal(harness.billing, harness.billing.apps.app("skai"), "u1")
        assert refused.value.code == "no_customer"
    await buys_again(harness, gone)


@LISTED
async def test_a_deleted_customer_is_not_alerted_as_a_vanished_subscription(harness: Harness, listed: str) -> None:
    await harness.subscribed("u1", "pro")
    await delete_customer(harness, listed)
    harness.events()  # lost
    await harness.want("u1")
    await harness.settle()
    assert (await harness.tier("u1"), await harness.alerts()) == ("free", set())


@LISTED
@pytest.mark.parametrize("event_arrives", [False, True])
async def test_a_deleted_customers_open_session_is_never_reused(
    harness: Harness, listed: str, event_arrives: bool
) -> None:
    first = await harness.checkout("u1", "pro")
    gone = await delete_customer(harness, listed)
    if event_arrives:
        await harness.catch_up()
    second = await harness.checkout("u1", "pro")
    assert (second.kind, second.url != first.url) == ("checkout", True)
    assert [each["url"] for each in sessions(harness, "open")] == [second.url]
    assert sessions(harness, "open")[0]["customer"] != gone


async def test_a_deleted_customers_session_that_cannot_be_expired_stops_no_checkout(harness: Harness) -> None:
    await harness.checkout("u1", "pro")
    gone = await delete_customer(harness, "canceled")
    harness.stripe.fault("status", "/v1/checkout/sessions/.*/expire", "POST", status=404)
    await buys_again(harness, gone)


async def test_a_session_of_another_living_customer_is_expired_and_not_handed_out(harness: Harness) -> None:
    first = await harness.checkout("u1", "pro")
    customer = harness.stripe.state.objects["customer"][await harness.customer_id("u1")]
    harness.stripe.state.add({**customer, "id": "cus_newer"})
    await harness.store.write(
        lambda conn: customers.add(conn, "skai", "u1", "cus_newer", None, harness.billing.work.now() + 1)
    )
    second = await harness.checkout("u1", "pro")
    assert second.url != first.url
    assert [each["customer"] for each in sessions(harness, "open")] == ["cus_newer"]


# A delayed payment, such as a bank debit.


async def delayed_purchase(harness: Harness) -> dict[str, Any]:
    """The session is complete, the money is under way."""
    await harness.checkout("u1", "pro")
    [session] = sessions(harness, "open")
    pay(harness.stripe.state, session, delayed=True)
    assert (session["status"], session["payment_status"]) == ("complete", "unpaid")
    return session


def fail_payment(harness: Harness, session: dict[str, Any], status: str | None) -> None:
    """The bank refuses; the subscription is left with `status`, None for no subscription at all."""
    subscription = harness.stripe.state.find("subscription", session["subscription"])
    if status is None:
        del harness.stripe.state.objects["subscription"][subscription["id"]]
        session["subscription"] = None
    else:
        subscription["status"] = status
    harness.stripe.state.emit("checkout.session.async_payment_failed", session)


@pytest.mark.parametrize("event_arrives", [False, True])
@pytest.mark.parametrize("status", ["incomplete", "incomplete_expired", "canceled", None])
async def test_after_a_failed_delayed_payment_a_new_checkout_opens(
    harness: Harness, status: str, event_arrives: bool
) -> None:
    """Whether the event has come already or not."""
    fail_payment(harness, await delayed_purchase(harness), status)
    if event_arrives:
        await harness.catch_up()
    link = await harness.checkout("u1", "pro")
    assert link.kind == "checkout"
    assert await harness.click(link.url, action="pay") == 303


@pytest.mark.parametrize("session_of", ["nobody's", "another's"])
async def test_while_a_delayed_payment_is_under_way_no_second_checkout_opens(harness: Harness, session_of: str) -> None:
    session = await delayed_purchase(harness)
    subscription = session["subscription"]
    del harness.stripe.state.objects["subscription"][subscription]
    session["subscription"] = None
    if session_of == "another's":
        harness.stripe.state.emit("checkout.session.async_payment_failed", {**session, "id": "cs_test_other"})
    harness.move(3 * 3600)
    assert (await harness.checkout("u1", "pro")).kind == "portal"


async def test_while_the_payment_of_an_incomplete_subscription_is_under_way_no_second_checkout_opens(
    harness: Harness,
) -> None:
    """Stripe may list it before the bank has answered; only its word that the payment failed ends the wait."""
    session = await delayed_purchase(harness)
    harness.stripe.state.find("subscription", session["subscription"])["status"] = "incomplete"
    assert (await harness.checkout("u1", "pro")).kind == "portal"
    assert (await harness.checkout("u1", "enterprise")).kind == "portal"
    fail_payment(harness, session, "incomplete")
    assert (await harness.checkout("u1", "pro")).kind == "checkout"


async def test_a_purchase_that_never_arrived_does_not_lead_to_the_portal_for_ever(harness: Harness) -> None:
    await harness.checkout("u1", "pro")
    [session] = sessions(harness, "open")
    session.update(status="complete", payment_status="paid", subscription=None)
    assert (await harness.checkout("u1", "pro")).kind == "portal"
    harness.move(2 * DAY)
    assert (await harness.checkout("u1", "pro")).kind == "checkout"
    assert (await harness.query(lambda conn: checkouts.get(conn, "skai", "u1"))) is not None
