"""Thin events: a type and an id, from which one bounded question leads to the owner."""

from __future__ import annotations

from typing import Any

import pytest
from servers.world import World

from gateway.billing.event_subjects import Subject, customer_of, meaning
from gateway.store import inbox


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


async def state_of(world: World, event_id: str = "evt_thin") -> str:
    event = await world.query(lambda conn: inbox.get(conn, "", event_id))
    assert event is not None
    return event.state


def newest(world: World, kind: str) -> str:
    return str(world.stripe.world.all(kind)[-1]["id"])


def lists(world: World) -> list[Any]:
    """What a refresh costs: the list of a customer's subscriptions."""
    return [seen for seen in world.stripe.api.log if seen.path == "/v1/subscriptions"]


@pytest.mark.parametrize("about", ["subscription", "invoice", "checkout.session", "charge", "subscription_schedule"])
async def test_a_thin_event_is_led_to_its_owner_by_one_question(world: World, about: str) -> None:
    await world.buy("u1")
    if about == "subscription_schedule":
        customer_id = await world.customer_id("u1")
        schedule = {"id": "sub_sched_1", "object": about, "customer": customer_id, "status": "released"}
        world.stripe.world.add(schedule)
    world.events()
    world.forget_requests()
    object_id = newest(world, about)
    await world.post(thin(about, object_id))
    await world.settle()
    assert (await world.tier("u1"), await state_of(world)) == ("pro", "handled")
    folder = {"checkout.session": "checkout/sessions"}.get(about, f"{about}s")
    assert [seen.path for seen in world.stripe.api.log if object_id in seen.path] == [f"/v1/{folder}/{object_id}"]


async def test_a_thin_dispute_holds_as_any_other(world: World) -> None:
    subscription_id = await world.subscribed("u1")
    dispute = world.stripe.dispute(subscription_id)
    world.events()
    await world.post(thin("dispute", dispute["id"]))
    await world.settle()
    assert (await world.tier("u1"), await world.alerts()) == ("free", {("dispute_open", dispute["id"])})


async def test_a_thin_refund_and_a_thin_fraud_warning_alert(world: World) -> None:
    subscription_id = await world.subscribed("u1")
    warning = world.stripe.warn_of_fraud(subscription_id)
    await world.post(thin("radar.early_fraud_warning", warning["id"]))
    await world.settle()
    assert {kind for kind, _ in await world.alerts()} == {"fraud_warning"}
    world.stripe.refund(subscription_id)
    world.events()
    await world.post({**thin("charge", newest(world, "charge"), event_id="evt_2"), "type": "v1.charge.refunded"})
    await world.settle()
    assert "refunded" in {kind for kind, _ in await world.alerts()}


@pytest.mark.parametrize("about", ["payout", "v2.money_management.transaction", "account", "", "../customers"])
async def test_a_thin_event_about_anything_else_is_stored_and_ignored(world: World, about: str) -> None:
    await world.subscribed("u1")
    world.forget_requests()
    await world.post(thin(about, "po_1"))
    await world.settle()
    assert (await state_of(world), list(world.stripe.api.log)) == ("ignored", [])


async def test_of_a_snapshot_and_its_thin_event_the_second_asks_nothing(world: World) -> None:
    subscription_id = await world.buy("u1")
    snapshot = next(event for event in world.events() if event["type"] == "customer.subscription.created")
    await world.post(snapshot)
    await world.settle()
    assert await world.tier("u1") == "pro"
    world.forget_requests()
    await world.post(thin("subscription", subscription_id, snapshot=snapshot["id"]))
    await world.settle()
    assert (await state_of(world), list(world.stripe.api.log)) == ("duplicate", [])


@pytest.mark.parametrize("thin_first", [True, False])
async def test_both_at_once_cost_one_refresh(world: World, thin_first: bool) -> None:
    subscription_id = await world.buy("u1")
    snapshot = next(event for event in world.events() if event["type"] == "customer.subscription.created")
    both = [thin("subscription", subscription_id, snapshot=snapshot["id"]), snapshot]
    world.forget_requests()
    for event in both if thin_first else both[::-1]:
        await world.post(event)
    await world.settle()
    assert (await world.tier("u1"), len(lists(world))) == ("pro", 1)
    assert (await state_of(world), await state_of(world, snapshot["id"])) == ("duplicate", "handled")


async def test_a_snapshot_after_its_thin_event_costs_one_refresh_and_no_question(world: World) -> None:
    subscription_id = await world.buy("u1")
    snapshot = next(event for event in world.events() if event["type"] == "customer.subscription.created")
    await world.post(thin("subscription", subscription_id, snapshot=snapshot["id"]))
    await world.settle()
    assert await world.tier("u1") == "pro"
    world.forget_requests()
    await world.post(snapshot)
    await world.settle()
    assert [seen.path for seen in world.stripe.api.log] == ["/v1/subscriptions"]


async def test_a_twin_that_was_ignored_or_never_came_proves_nothing(world: World) -> None:
    subscription_id = await world.buy("u1")
    world.events()
    held = {"object": "subscription", "id": subscription_id, "customer": "cus_other"}
    stranger = {"id": "evt_s", "object": "event", "type": "customer.subscription.created", "livemode": False}
    stranger["data"] = {"object": held}
    await world.post(stranger)
    await world.settle()
    assert await state_of(world, "evt_s") == "ignored"
    await world.post(thin("subscription", subscription_id, snapshot="evt_s"))
    await world.post(thin("subscription", subscription_id, snapshot="evt_never", event_id="evt_thin_2"))
    await world.settle()
    assert (await state_of(world), await state_of(world, "evt_thin_2")) == ("handled", "handled")
    assert await world.tier("u1") == "pro"


async def test_what_an_operator_replays_is_asked_again_although_its_twin_was_handled(world: World) -> None:
    subscription_id = await world.buy("u1")
    snapshot = next(event for event in world.events() if event["type"] == "customer.subscription.created")
    await world.post(snapshot)
    await world.post(thin("subscription", subscription_id, snapshot=snapshot["id"]))
    await world.settle()
    world.move(60)
    world.forget_requests()
    await world.store.write(lambda conn: inbox.reopen(conn, "", "evt_thin", world.billing.now()))
    await world.settle()
    assert (await state_of(world), len(lists(world))) == ("handled", 1)


async def test_a_question_that_stripe_refuses_is_alerted_at_once_and_one_that_waits_after_a_while(world: World) -> None:
    subscription_id = await world.buy("u1")
    world.events()
    refused = world.stripe.fault("status", "/v1/invoices/.*", status=403, times=99)
    await world.post(thin("invoice", newest(world, "invoice")))
    await world.settle()
    assert await world.alerts() == {("event_unreadable", "invoice")}
    refused.times = 0
    down = world.stripe.fault("status", "/v1/subscriptions/.*", status=503, times=99)
    await world.post(thin("subscription", subscription_id, event_id="evt_2"))
    await world.settle()
    assert ("event_unreadable", "subscription") not in await world.alerts()
    for _ in range(6):
        world.move(3600)
        await world.settle()
    assert await world.alerts() == {("event_unreadable", "subscription")}
    down.times = 0
    world.move(3600)
    await world.settle()
    assert (await world.tier("u1"), await world.alerts()) == ("pro", set())


BAD_IDS = ("../customers", "a/b", "sub_1?x=1", "", "é", "x" * 256, "sub_1\\n")
BODIES = {
    b"": None,
    b"{}": None,
    b'{"related_object": null, "data": 7}': None,
    b'{"related_object": {"type": ["subscription"], "id": "sub_1"}}': None,
    b'{"related_object": {"type": "subscription", "id": "sub_1"}}': Subject("subscription", "sub_1"),
    **{f'{{"related_object": {{"type": "subscription", "id": "{bad}"}}}}'.encode(): None for bad in BAD_IDS},
}


@pytest.mark.parametrize(("body", "subject"), BODIES.items())
def test_only_a_known_type_and_a_plain_id_make_a_question(body: bytes, subject: Subject | None) -> None:
    assert meaning(body).question == subject


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
def test_whose_an_object_is(answer: dict[str, Any], customer_id: str | None) -> None:
    assert customer_of(answer) == customer_id
