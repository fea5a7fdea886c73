"""Buying again: after the customer was deleted, and after a delayed payment failed."""

from __future__ import annotations

from typing import Any

import pytest
from servers.world import DAY, World

from gateway.billing.portal import open_portal
from gateway.errors import NotFound
from gateway.sandbox.stripe.checkout import pay
from gateway.store import checkouts, customers

LISTED = pytest.mark.parametrize("listed", ["canceled", "empty", "missing"])
"""What Stripe may answer when a deleted customer's subscriptions are listed; its documentation does not say."""


def sessions(world: World, status: str) -> list[dict[str, Any]]:
    return [each for each in world.stripe.world.all("checkout.session") if each["status"] == status]


async def delete_customer(world: World, listed: Any) -> str:
    world.stripe.settings.deleted_customers_subscriptions = listed
    customer_id = await world.customer_id("u1")
    await world.billing.stripe.delete(f"/v1/customers/{customer_id}")
    return customer_id


async def buys_again(world: World, gone: str) -> None:
    link = await world.checkout("u1", "pro")
    assert link.kind == "checkout"
    assert await world.click(link.url, action="pay") == 303
    await world.catch_up()
    assert await world.tier("u1") == "pro"
    assert await world.customer_id("u1") != gone
    assert await world.alerts() == set()


@LISTED
@pytest.mark.parametrize("portal_first", [False, True])
@pytest.mark.parametrize("told", [False, True])
async def test_whose_customer_was_deleted_can_buy_again(
    world: World, listed: str, portal_first: bool, told: bool
) -> None:
    await world.subscribed("u1", "pro")
    gone = await delete_customer(world, listed)
    if told:
        await world.catch_up()
        assert (await world.tier("u1"), await world.alerts()) == ("free", set())
    if portal_first:
        with pytest.raises(NotFound) as refused:
            await open_portal(world.billing, world.billing.app("skai"), "u1")
        assert refused.value.code == "no_customer"
    await buys_again(world, gone)


@LISTED
async def test_a_deleted_customer_is_not_alerted_as_a_vanished_subscription(world: World, listed: str) -> None:
    await world.subscribed("u1", "pro")
    await delete_customer(world, listed)
    world.events()  # lost
    await world.want("u1")
    await world.settle()
    assert (await world.tier("u1"), await world.alerts()) == ("free", set())


@LISTED
@pytest.mark.parametrize("told", [False, True])
async def test_a_deleted_customers_open_session_is_never_handed_out(world: World, listed: str, told: bool) -> None:
    first = await world.checkout("u1", "pro")
    gone = await delete_customer(world, listed)
    if told:
        await world.catch_up()
    second = await world.checkout("u1", "pro")
    assert (second.kind, second.url != first.url) == ("checkout", True)
    assert [each["url"] for each in sessions(world, "open")] == [second.url]
    assert sessions(world, "open")[0]["customer"] != gone


async def test_a_session_of_a_deleted_customer_that_cannot_be_expired_stops_nobody(world: World) -> None:
    await world.checkout("u1", "pro")
    gone = await delete_customer(world, "canceled")
    world.stripe.fault("status", "/v1/checkout/sessions/.*/expire", "POST", status=404)
    await buys_again(world, gone)


async def test_a_session_of_another_living_customer_is_expired_and_not_handed_out(world: World) -> None:
    first = await world.checkout("u1", "pro")
    customer = world.stripe.world.objects["customer"][await world.customer_id("u1")]
    world.stripe.world.add({**customer, "id": "cus_newer"})
    await world.store.write(lambda conn: customers.add(conn, "skai", "u1", "cus_newer", None, world.billing.now() + 1))
    second = await world.checkout("u1", "pro")
    assert second.url != first.url
    assert [each["customer"] for each in sessions(world, "open")] == ["cus_newer"]


# A delayed payment, such as a bank debit.


async def delayed_purchase(world: World) -> dict[str, Any]:
    """The session is complete, the money is under way."""
    await world.checkout("u1", "pro")
    [session] = sessions(world, "open")
    pay(world.stripe.world, session, delayed=True)
    assert (session["status"], session["payment_status"]) == ("complete", "unpaid")
    return session


def fail_payment(world: World, session: dict[str, Any], status: str | None) -> None:
    """The bank refuses; the subscription is left with `status`, None for no subscription at all."""
    subscription = world.stripe.world.find("subscription", session["subscription"])
    if status is None:
        del world.stripe.world.objects["subscription"][subscription["id"]]
        session["subscription"] = None
    else:
        subscription["status"] = status
    world.stripe.world.emit("checkout.session.async_payment_failed", session)


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("status", ["incomplete", "incomplete_expired", "canceled", None])
async def test_after_a_failed_delayed_payment_a_new_checkout_opens(world: World, status: str, told: bool) -> None:
    """Whether the event has come already or not."""
    fail_payment(world, await delayed_purchase(world), status)
    if told:
        await world.catch_up()
    link = await world.checkout("u1", "pro")
    assert link.kind == "checkout"
    assert await world.click(link.url, action="pay") == 303


@pytest.mark.parametrize("of_whom", ["nobody's", "another's"])
async def test_while_a_delayed_payment_is_under_way_no_second_checkout_opens(world: World, of_whom: str) -> None:
    session = await delayed_purchase(world)
    subscription = session["subscription"]
    del world.stripe.world.objects["subscription"][subscription]
    session["subscription"] = None
    if of_whom == "another's":
        world.stripe.world.emit("checkout.session.async_payment_failed", {**session, "id": "cs_test_other"})
    world.move(3 * 3600)
    assert (await world.checkout("u1", "pro")).kind == "portal"


async def test_while_the_payment_of_an_incomplete_subscription_is_under_way_no_second_checkout_opens(
    world: World,
) -> None:
    """Stripe may list it before the bank has answered; only its word that the payment failed ends the wait."""
    session = await delayed_purchase(world)
    world.stripe.world.find("subscription", session["subscription"])["status"] = "incomplete"
    assert (await world.checkout("u1", "pro")).kind == "portal"
    assert (await world.checkout("u1", "enterprise")).kind == "portal"
    fail_payment(world, session, "incomplete")
    assert (await world.checkout("u1", "pro")).kind == "checkout"


async def test_a_purchase_that_never_arrived_does_not_lead_to_the_portal_for_ever(world: World) -> None:
    await world.checkout("u1", "pro")
    [session] = sessions(world, "open")
    session.update(status="complete", payment_status="paid", subscription=None)
    assert (await world.checkout("u1", "pro")).kind == "portal"
    world.move(2 * DAY)
    assert (await world.checkout("u1", "pro")).kind == "checkout"
    assert (await world.query(lambda conn: checkouts.get(conn, "skai", "u1"))) is not None
