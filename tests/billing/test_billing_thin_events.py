"""Thin events: a type and an id, from which one bounded question leads to the owner."""

from __future__ import annotations

from typing import Any

import pytest
from servers.harness import Harness

from gateway.store import inbox
from gateway.stripe.event_content import EventObject, customer_of, event_content


def thin(about: str, object_id: str, snapshot: str | None = None, event_id: str = "evt_thin") -> dict[str, Any]:
    """As Stripe sends them; the `url` in it leads elsewhere on purpose."""
    return {
        "id": event_id,
        "object": "v2.core.event",
        "type": f"v1.{about}.updated",
        "livemode": False,
        "created": "2027-01-15T08:00:00.000Z",
        "related_object": {"id": object_id, "type": about, "url": "http://127.0.0.1:1/elsewhere"},
        **({"snapshot_event": snapshot} if snapshot else {}),
    }


async def state_of(harness: Harness, event_id: str = "evt_thin") -> str:
    event = await harness.query(lambda conn: inbox.get(conn, "", event_id))
    assert event is not None
    return event.state


def newest(harness: Harness, kind: str) -> str:
    return str(harness.stripe.state.all(kind)[-1]["id"])


def lists(harness: Harness) -> list[Any]:
    """What a refresh costs: the list of a customer's subscriptions."""
    return [request for request in harness.stripe.api.log if request.path == "/v1/subscriptions"]


@pytest.mark.parametrize("about", ["subscription", "invoice", "checkout.session", "charge", "subscription_schedule"])
async def test_a_thin_event_is_led_to_its_owner_by_one_question(harness: Harness, about: str) -> None:
    await harness.buy("u1")
    if about == "subscription_schedule":
        customer_id = await harness.customer_id("u1")
        schedule = {"id": "sub_sched_1", "object": about, "customer": customer_id, "status": "released"}
        harness.stripe.state.add(schedule)
    harness.events()
    harness.forget_requests()
    object_id = newest(harness, about)
    await harness.post(thin(about, object_id))
    await harness.settle()
    assert (await harness.tier("u1"), await state_of(harness)) == ("pro", "handled")
    folder = {"checkout.session": "checkout/sessions"}.get(about, f"{about}s")
    assert [request.path for request in harness.stripe.api.log if object_id in request.path] == [
        f"/v1/{folder}/{object_id}"
    ]


async def test_a_thin_dispute_holds_as_any_other(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1")
    dispute = harness.stripe.dispute(subscription_id)
    harness.events()
    await harness.post(thin("dispute", dispute["id"]))
    await harness.settle()
    assert (await harness.tier("u1"), await harness.alerts()) == ("free", {("dispute_open", dispute["id"])})


async def test_a_thin_refund_and_a_thin_fraud_warning_alert(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1")
    warning = harness.stripe.warn_of_fraud(subscription_id)
    await harness.post(thin("radar.early_fraud_warning", warning["id"]))
    await harness.settle()
    assert {kind for kind, _ in await harness.alerts()} == {"fraud_warning"}
    harness.stripe.refund(subscription_id)
    harness.events()
    await harness.post({**thin("charge", newest(harness, "charge"), event_id="evt_2"), "type": "v1.charge.refunded"})
    await harness.settle()
    assert "refunded" in {kind for kind, _ in await harness.alerts()}


@pytest.mark.parametrize("about", ["payout", "v2.money_management.transaction", "account", "", "../customers"])
async def test_a_thin_event_about_anything_else_is_stored_and_ignored(harness: Harness, about: str) -> None:
    await harness.subscribed("u1")
    harness.forget_requests()
    await harness.post(thin(about, "po_1"))
    await harness.settle()
    assert (await state_of(harness), list(harness.stripe.api.log)) == ("ignored", [])


async def test_of_a_snapshot_and_its_thin_event_the_second_asks_nothing(harness: Harness) -> None:
    subscription_id = await harness.buy("u1")
    snapshot = next(event for event in harness.events() if event["type"] == "customer.subscription.created")
    await harness.post(snapshot)
    await harness.settle()
    assert await harness.tier("u1") == "pro"
    harness.forget_requests()
    await harness.post(thin("subscription", subscription_id, snapshot=snapshot["id"]))
    await harness.settle()
    assert (await state_of(harness), list(harness.stripe.api.log)) == ("duplicate", [])


@pytest.mark.parametrize("thin_first", [True, False])
async def test_both_at_once_cost_one_refresh(harness: Harness, thin_first: bool) -> None:
    subscription_id = await harness.buy("u1")
    snapshot = next(event for event in harness.events() if event["type"] == "customer.subscription.created")
    both = [thin("subscription", subscription_id, snapshot=snapshot["id"]), snapshot]
    harness.forget_requests()
    for event in both if thin_first else both[::-1]:
        await harness.post(event)
    await harness.settle()
    assert (await harness.tier("u1"), len(lists(harness))) == ("pro", 1)
    assert (await state_of(harness), await state_of(harness, snapshot["id"])) == ("duplicate", "handled")


async def test_a_snapshot_after_its_thin_event_costs_one_refresh_and_no_question(harness: Harness) -> None:
    subscription_id = await harness.buy("u1")
    snapshot = next(event for event in harness.events() if event["type"] == "customer.subscription.created")
    await harness.post(thin("subscription", subscription_id, snapshot=snapshot["id"]))
    await harness.settle()
    assert await harness.tier("u1") == "pro"
    harness.forget_requests()
    await harness.post(snapshot)
    await harness.settle()
    assert [request.path for request in harness.stripe.api.log] == ["/v1/subscriptions"]


async def test_a_duplicate_that_was_ignored_or_never_came_does_not_count(harness: Harness) -> None:
    subscription_id = await harness.buy("u1")
    harness.events()
    stored = {"object": "subscription", "id": subscription_id, "customer": "cus_other"}
    foreign = {"id": "evt_s", "object": "event", "type": "customer.subscription.created", "livemode": False}
    foreign["data"] = {"object": stored}
    await harness.post(foreign)
    await harness.settle()
    assert await state_of(harness, "evt_s") == "ignored"
    await harness.post(thin("subscription", subscription_id, snapshot="evt_s"))
    await harness.post(thin("subscription", subscription_id, snapshot="evt_never", event_id="evt_thin_2"))
    await harness.settle()
    assert (await state_of(harness), await state_of(harness, "evt_thin_2")) == ("handled", "handled")
    assert await harness.tier("u1") == "pro"


async def test_a_replayed_event_is_routed_although_its_duplicate_was_handled(harness: Harness) -> None:
    subscription_id = await harness.buy("u1")
    snapshot = next(event for event in harness.events() if event["type"] == "customer.subscription.created")
    await harness.post(snapshot)
    await harness.post(thin("subscription", subscription_id, snapshot=snapshot["id"]))
    await harness.settle()
    harness.move(60)
    harness.forget_requests()
    await harness.store.write(lambda conn: inbox.reopen(conn, "", "evt_thin", harness.billing.work.now()))
    await harness.settle()
    assert (await state_of(harness), len(lists(harness))) == ("handled", 1)


async def test_a_question_that_stripe_refuses_is_alerted_at_once_and_one_that_waits_after_a_while(
    harness: Harness,
) -> None:
    subscription_id = await harness.buy("u1")
    harness.events()
    refused = harness.stripe.fault("status", "/v1/invoices/.*", status=403, times=99)
    await harness.post(thin("invoice", newest(harness, "invoice")))
    await harness.settle()
    assert await harness.alerts() == {("event_unreadable", "invoice")}
    refused.times = 0
    down = harness.stripe.fault("status", "/v1/subscriptions/.*", status=503, times=99)
    await harness.post(thin("subscription", subscription_id, event_id="evt_2"))
    await harness.settle()
    assert ("event_unreadable", "subscription") not in await harness.alerts()
    for _ in range(6):
        harness.move(3600)
        await harness.settle()
    assert await harness.alerts() == {("event_unreadable", "subscription")}
    down.times = 0
    harness.move(3600)
    await harness.settle()
    assert (await harness.tier("u1"), await harness.alerts()) == ("pro", set())


BAD_IDS = ("../customers", "a/b", "sub_1?x=1", "", "é", "x" * 256, "sub_1\\n")
BODIES = {
    b"": None,
    b"{}": None,
    b'{"related_object": null, "data": 7}': None,
    b'{"related_object": {"type": ["subscription"], "id": "sub_1"}}': None,
    b'{"related_object": {"type": "subscription", "id": "sub_1"}}': EventObject("subscription", "sub_1"),
    **{f'{{"related_object": {{"type": "subscription", "id": "{bad}"}}}}'.encode(): None for bad in BAD_IDS},
}


@pytest.mark.parametrize(("body", "subject"), BODIES.items())
def test_only_a_known_type_and_a_plain_id_are_fetched(body: bytes, subject: EventObject | None) -> None:
    assert event_content(body).to_fetch == subject


@pytest.mark.parametrize(
    ("answer", "customer_id"),
    [
        ({"object": "customer", "id": "cus_1"}, "cus_1"),
        ({"object": "subscription", "customer": "cus_1"}, "cus_1"),
        ({"object": "subscription", "customer": {"id": "cus_1"}}, "cus_1"),
        ({"object": "dispute", "charge": {"customer": "cus_1"}}, "cus_1"),
        ({"object": "dispute", "charge": {"customer": {"id": "cus_1"}}}, "cus_1"),
        ({"object": "dispute", "charge": "ch_1"}, None),
        ({"object": "charge", "customer": None}, None),
        ({"object": "customer", "id": "c" * 300}, None),
    ],
)
def test_the_customer_of_an_object(answer: dict[str, Any], customer_id: str | None) -> None:
    assert customer_of(answer) == customer_id
