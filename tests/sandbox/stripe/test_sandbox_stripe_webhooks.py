"""Webhooks out: signed as Stripe signs, sent at least once, in no order; and the events behind them."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
import stripe
from stripe_stage import DAY, SECRET, Box, Receiver, Start, seed, until

from gateway.sandbox.stripe.deliveries import signature

Json = dict[str, Any]


def test_the_key_is_the_whole_secret() -> None:
    """Strimulator strips `whsec_` and teaches the wrong scheme (facts/stripe.md §1.1)."""
    wanted = hmac.new(b"whsec_abc", b'1700000000.{"a":1}', hashlib.sha256).hexdigest()
    assert signature("whsec_abc", b'{"a":1}', 1_700_000_000) == f"t=1700000000,v1={wanted}"


def _bodies(receiver: Receiver) -> list[Json]:
    return [json.loads(body) for body, _ in receiver.got]


async def test_the_official_library_accepts_every_webhook_and_no_other_secret(box: Box) -> None:
    await box.subscribed()
    await until(lambda: box.sandbox.deliveries.idle, "all delivered")
    assert len(box.receiver.got) == len(box.event_types())
    for body, header in box.receiver.got:
        event = stripe.Webhook.construct_event(body, header, SECRET)
        assert event.livemode is False
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.Webhook.construct_event(body, header, SECRET.removeprefix("whsec_"))


async def test_a_purchase_makes_the_events_of_a_purchase(box: Box) -> None:
    before = len(box.event_types())
    subscription = await box.subscribed()
    made = box.sandbox.state.all("event")[before:]
    assert [event["type"] for event in made] == [
        "customer.created",
        "customer.subscription.created",
        "invoice.created",
        "invoice.finalized",
        "invoice.updated",
        "invoice_payment.paid",
        "invoice.paid",
        "invoice.payment_succeeded",
        "customer.subscription.updated",
        "checkout.session.completed",
    ]
    created = made[1]["data"]["object"]
    assert (created["id"], created["status"], created["latest_invoice"]) == (subscription["id"], "active", None)
    assert made[-2]["data"]["previous_attributes"] == {"latest_invoice": None}
    assert made[-1]["data"]["object"]["subscription"] == subscription["id"]
    assert {event["api_version"] for event in made} == {"2026-10-28.endive"}
    assert made[0]["request"]["id"].startswith("req_")
    assert made[-1]["request"] == {"id": None, "idempotency_key": None}


async def test_an_event_names_the_request_and_key_that_caused_it(box: Box) -> None:
    await box.customer(email="a@b.c")
    await box.ok("POST", "/v1/customers", {"email": "c@d.e"}, Idempotency_Key="cus:1")
    event = box.sandbox.state.all("event")[-1]
    assert event["request"] == {"id": box.sandbox.api.log[-1].request_id, "idempotency_key": "cus:1"}


async def test_a_renewal_that_fails_makes_its_events(box: Box) -> None:
    subscription = await box.subscribed()
    before = len(box.event_types())
    box.sandbox.fail_next_renewal(subscription["id"])
    made = box.sandbox.state.all("event")[before:]
    assert [event["type"] for event in made] == [
        "invoice.created",
        "customer.subscription.updated",
        "invoice.finalized",
        "invoice.updated",
        "invoice.payment_failed",
        "customer.subscription.updated",
    ]
    assert made[-1]["data"]["previous_attributes"] == {"status": "active"}
    items = made[1]["data"]["previous_attributes"]["items"]["data"]
    assert items[0]["current_period_end"] == subscription["items"]["data"][0]["current_period_end"]


async def test_events_are_snapshots(box: Box) -> None:
    subscription = await box.subscribed()
    await box.ok("DELETE", f"/v1/subscriptions/{subscription['id']}")
    created = next(e for e in box.sandbox.state.all("event") if e["type"] == "customer.subscription.created")
    assert created["data"]["object"]["status"] == "active"


async def test_only_2xx_is_success_and_the_rest_is_retried(start: Start, receiver: Receiver) -> None:
    """A redirect is a failure and is not followed (facts/stripe.md §1.2)."""
    receiver.answers = [307, 500, 204]
    box = await start()
    customer = await box.customer()
    await until(lambda: box.sandbox.deliveries.idle, "all tries made")
    log = box.sandbox.deliveries.log
    assert [(each.attempt, each.status, each.succeeded) for each in log] == [
        (1, 307, False),
        (2, 500, False),
        (3, 204, True),
    ]
    assert {body["data"]["object"]["id"] for body in _bodies(receiver)} == {customer["id"]}
    assert len({body["id"] for body in _bodies(receiver)}) == 1
    assert box.sandbox.state.all("event")[-1]["pending_webhooks"] == 0


async def test_what_was_never_delivered_is_found_in_the_event_list(start: Start, receiver: Receiver) -> None:
    receiver.answers = [500] * 3
    box = await start()
    lost = await box.customer()
    await until(lambda: box.sandbox.deliveries.idle, "all tries made")
    assert len(box.sandbox.deliveries.log) == 3
    await box.customer()
    await until(lambda: box.sandbox.deliveries.idle, "the second delivered")
    failed = await box.ok("GET", "/v1/events", {"delivery_success": False})
    assert [event["data"]["object"]["id"] for event in failed["data"]] == [lost["id"]]
    assert (failed["data"][0]["pending_webhooks"], failed["has_more"]) == (1, False)
    assert box.sandbox.deliveries.resend(failed["data"][0]["id"]) == 1
    await until(lambda: box.sandbox.deliveries.idle, "sent again")
    assert (await box.ok("GET", "/v1/events", {"delivery_success": False}))["data"] == []


async def test_an_endpoint_that_is_not_there_is_an_error_in_the_log(start: Start) -> None:
    box = await start()
    box.sandbox.add_endpoint("http://127.0.0.1:9/nowhere", "whsec_x")
    await box.customer()
    await until(lambda: box.sandbox.deliveries.idle, "all tries made")
    lost = [each for each in box.sandbox.deliveries.log if each.url.endswith("nowhere")]
    assert [each.status for each in lost] == [None] * 3
    assert all(each.error for each in lost)


async def test_deliveries_wait_while_paused_and_come_reversed_and_twice(box: Box) -> None:
    await until(lambda: box.sandbox.deliveries.idle, "the seed delivered")
    box.receiver.got.clear()
    box.sandbox.deliveries.pause()
    made = [await box.customer() for _ in range(3)]
    assert box.receiver.got == []
    box.sandbox.deliveries.resume("reversed", copies=2)
    await until(lambda: box.sandbox.deliveries.idle, "all delivered")
    got = [body["data"]["object"]["id"] for body in _bodies(box.receiver)]
    assert got == [customer["id"] for customer in reversed(made) for _ in range(2)]


async def test_every_event_can_be_delivered_twice(box: Box) -> None:
    await until(lambda: box.sandbox.deliveries.idle, "the seed delivered")
    box.receiver.got.clear()
    box.sandbox.deliveries.copies = 2
    await box.customer()
    await until(lambda: box.sandbox.deliveries.idle, "both delivered")
    assert len(box.receiver.got) == 2
    assert len({body["id"] for body in _bodies(box.receiver)}) == 1


async def test_events_are_listed_newest_first_and_filtered(box: Box) -> None:
    await box.subscribed()
    types = [event["type"] for event in (await box.ok("GET", "/v1/events", {"limit": 100}))["data"]]
    assert types == box.event_types()[::-1]
    wanted = {"types[0]": "invoice.paid", "types[1]": "customer.created"}
    found = await box.ok("GET", "/v1/events", wanted)
    assert [event["type"] for event in found["data"]] == ["invoice.paid", "customer.created"]
    assert len((await box.ok("GET", "/v1/events", {"type": "invoice.*"}))["data"]) == 5
    one = await box.ok("GET", f"/v1/events/{found['data'][0]['id']}")
    assert one == found["data"][0]
    box.sandbox.advance(DAY)
    late = await box.customer()
    found = await box.ok("GET", "/v1/events", {"created[gte]": late["created"]})
    assert [event["data"]["object"]["id"] for event in found["data"]] == [late["id"]]
    page = await box.ok("GET", "/v1/events", {"limit": 2})
    rest = await box.ok("GET", "/v1/events", {"limit": 100, "starting_after": page["data"][1]["id"]})
    assert len(page["data"]) + len(rest["data"]) == len(box.event_types())
    box.sandbox.advance(31 * DAY)
    assert one["id"] not in str(await box.ok("GET", "/v1/events", {"limit": 100}))
    assert (await box.call("GET", f"/v1/events/{one['id']}"))[0] == 404


async def test_an_endpoint_made_over_the_api_shows_its_secret_once(box: Box) -> None:
    made = await box.ok(
        "POST",
        "/v1/webhook_endpoints",
        {"url": box.receiver.url, "enabled_events[0]": "customer.created", "api_version": "2026-10-28.endive"},
    )
    path = f"/v1/webhook_endpoints/{made['id']}"
    assert "secret" not in await box.ok("GET", path)
    listed = await box.ok("GET", "/v1/webhook_endpoints")
    assert "whsec_" not in str(listed)
    await until(lambda: box.sandbox.deliveries.idle, "the seed delivered")
    box.receiver.got.clear()
    customer = await box.customer()
    await box.ok("POST", f"/v1/customers/{customer['id']}", {"name": "x"})
    await until(lambda: box.sandbox.deliveries.idle, "all delivered")
    mine = []
    for body, header in box.receiver.got:
        try:
            mine.append(stripe.Webhook.construct_event(body, header, made["secret"]).type)
        except stripe.SignatureVerificationError:
            stripe.Webhook.construct_event(body, header, SECRET)
    assert mine == ["customer.created"]
    off = await box.ok("POST", path, {"disabled": True})
    assert off["status"] == "disabled"
    assert await box.ok("DELETE", path) == {"id": made["id"], "object": "webhook_endpoint", "deleted": True}
    assert (await box.call("GET", path))[0] == 404


async def test_endpoints_are_limited_and_checked(box: Box) -> None:
    good = {"url": "https://x.test/hook", "enabled_events[0]": "*"}
    for change in ({"enabled_events[0]": "x", "url": "nonsense"}, {"api_version": "soon"}):
        assert (await box.call("POST", "/v1/webhook_endpoints", {**good, **change}))[0] == 400
    box.sandbox.deliveries.pause()
    got = [(await box.call("POST", "/v1/webhook_endpoints", good))[0] for _ in range(16)]
    assert got == [200] * 15 + [400]


async def test_events_of_any_type_can_be_emitted(box: Box) -> None:
    dispute = {"id": "dp_1", "object": "dispute", "charge": "ch_1", "status": "needs_response"}
    event = box.sandbox.emit("charge.dispute.created", dispute)
    await until(lambda: box.sandbox.deliveries.idle, "delivered")
    announced = next(body for body in _bodies(box.receiver) if body["id"] == event["id"])
    assert (announced["type"], announced["data"]["object"]) == ("charge.dispute.created", dispute)
    box.sandbox.state.objects["event"].pop(event["id"])


async def test_old_events_are_old_in_the_webhook_and_in_the_list(start: Start, receiver: Receiver) -> None:
    """Events keep the version of their birth (facts/stripe.md §1.2), whatever version the reader asks for."""
    box = await start(shape="2024")
    seed(box.sandbox)
    subscription = await box.subscribed()
    await until(lambda: box.sandbox.deliveries.idle, "all delivered")
    created = next(body for body in _bodies(receiver) if body["type"] == "customer.subscription.created")
    old = created["data"]["object"]
    item = subscription["items"]["data"][0]
    assert created["api_version"] == "2024-06-20"
    assert (old["current_period_end"], old["status"]) == (item["current_period_end"], "incomplete")
    assert "current_period_end" not in old["items"]["data"][0]
    assert "billing_mode" not in old
    updated = next(body for body in _bodies(receiver) if body["type"] == "customer.subscription.updated")
    assert updated["data"]["previous_attributes"]["status"] == "incomplete"
    box.sandbox.shape = "endive"
    box.sandbox.renew(subscription["id"])
    listed = (await box.ok("GET", "/v1/events", {"type": "invoice.paid"}))["data"]
    assert [event["api_version"] for event in listed] == ["2026-10-28.endive", "2024-06-20"]
    new, paid = (event["data"]["object"] for event in listed)
    assert (paid["subscription"], paid["paid"]) == (subscription["id"], True)
    assert "parent" not in paid
    assert paid["lines"]["data"][0]["price"]["id"] == "price_pro"
    assert new["parent"]["subscription_details"]["subscription"] == subscription["id"]


async def test_an_endpoint_pinned_to_an_old_version_gets_old_shapes(box: Box) -> None:
    box.sandbox.add_endpoint(box.receiver.url, "whsec_old", api_version="2024-06-20")
    await box.subscribed()
    await until(lambda: box.sandbox.deliveries.idle, "all delivered")
    shapes = {
        (body["api_version"], "current_period_end" in body["data"]["object"])
        for body in _bodies(box.receiver)
        if body["type"] == "customer.subscription.created"
    }
    assert shapes == {("2026-10-28.endive", False), ("2024-06-20", True)}
