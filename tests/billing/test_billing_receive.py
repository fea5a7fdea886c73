"""Events as they arrive: on disk before they are acknowledged, each once, and never believed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from servers.harness import DAY, START, Harness

from gateway.billing.events.receive import MAX_EVENT_BYTES, receive
from gateway.billing.events.route import route_events
from gateway.errors import BadSignature, InvalidInput, StoreUnavailable
from gateway.sandbox.stripe.deliveries import signature
from gateway.store import alerts, inbox, refreshes

EVENT = {
    "id": "evt_1",
    "object": "event",
    "type": "customer.subscription.updated",
    "api_version": "2026-10-28.endive",
    "livemode": False,
    "data": {"object": {"id": "sub_1", "object": "subscription", "customer": "cus_1"}},
}


def thin(kind: str, related_type: str, object_id: str, event_id: str = "evt_thin") -> dict[str, Any]:
    return {
        "id": event_id,
        "object": "v2.core.event",
        "type": kind,
        "livemode": False,
        "related_object": {"id": object_id, "type": related_type, "url": "http://127.0.0.1:1/elsewhere"},
    }


async def stored(harness: Harness, event_id: str = "evt_1") -> inbox.Event | None:
    return await harness.query(lambda conn: inbox.get(conn, "", event_id))


async def refreshes_wanted(harness: Harness) -> int:
    return await harness.query(refreshes.count_waiting)


async def test_an_event_is_on_disk_when_receive_returns(harness: Harness) -> None:
    assert await harness.post(EVENT) is True
    await harness.restart()
    event = await stored(harness)
    assert event is not None
    assert (event.state, event.customer_id, json.loads(event.body)) == ("waiting", "cus_1", EVENT)


async def test_a_repetition_is_acknowledged_and_changes_nothing(harness: Harness) -> None:
    assert [await harness.post(EVENT) for _ in range(3)] == [True, False, False]
    await harness.settle()
    assert await harness.post(EVENT) is False
    event = await stored(harness)
    assert event is not None
    assert event.state == "ignored"
    assert await harness.query(inbox.count_waiting) == 0


async def test_nothing_is_acknowledged_that_the_disk_did_not_take(harness: Harness) -> None:
    """A full disk: SQLite may use no page more than it has."""

    def fill(conn: Any) -> None:
        pages = conn.exec_driver_sql("PRAGMA page_count").scalar_one()
        conn.exec_driver_sql(f"PRAGMA max_page_count={pages}")

    await harness.store.write(fill)
    big = {**EVENT, "padding": "x" * 100_000}
    with pytest.raises(StoreUnavailable):
        await harness.post(big)
    assert await stored(harness) is None
    await harness.store.write(lambda conn: conn.exec_driver_sql("PRAGMA max_page_count=1000000").scalar_one())
    assert await harness.post(big) is True


async def test_a_store_that_is_closing_acknowledges_nothing(harness: Harness) -> None:
    await harness.store.close()
    with pytest.raises(StoreUnavailable):
        await harness.post(EVENT)


@pytest.mark.parametrize(
    "header",
    ["", "t=1", f"t={START},v1={'0' * 64}", f"t={START},v0={'0' * 64}", "\r\n", "t=x,v1=é", "v1=" + "0" * 5000],
    ids=["none", "no signature", "wrong", "only v0", "line break", "not ASCII", "huge"],
)
async def test_what_stripe_did_not_sign_is_not_recorded(harness: Harness, header: str) -> None:
    with pytest.raises(BadSignature):
        await receive(harness.billing, json.dumps(EVENT).encode(), header)
    assert await stored(harness) is None


@pytest.mark.parametrize(("too_much", "enough"), [(-301, -300), (301, 300)])
async def test_a_signature_of_another_time_is_refused_by_its_own_code(
    harness: Harness, too_much: int, enough: int
) -> None:
    body = json.dumps(EVENT).encode()
    with pytest.raises(BadSignature) as refused:
        await receive(harness.billing, body, signature("whsec_b7d20e", body, START + too_much))
    assert refused.value.code == "stale_signature"
    assert await receive(harness.billing, body, signature("whsec_b7d20e", body, START + enough))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"\xff\xfe\x00",
        b"null",
        b"[]",
        b'"event"',
        b"[" * 100_000,
        b'{"object": "event"' + b"," * 10 + b"}",
        b"{" + b'"a":' * 5 + b"1" * 5000 + b"}",
        json.dumps({**EVENT, "object": "charge"}).encode(),
        json.dumps({**EVENT, "id": None}).encode(),
        json.dumps({**EVENT, "id": ""}).encode(),
        json.dumps({**EVENT, "id": 7}).encode(),
        json.dumps({**EVENT, "id": {"id": "evt_1"}}).encode(),
        json.dumps({**EVENT, "id": "e" * 256}).encode(),
        json.dumps({**EVENT, "id": "evt_\x00"}).encode(),
        json.dumps({**EVENT, "id": "evt_\ud800"}).encode(),
        json.dumps({**EVENT, "type": None}).encode(),
        json.dumps({**EVENT, "type": "a\nb"}).encode(),
    ],
)
async def test_signed_rubbish_is_refused_as_such_and_not_recorded(harness: Harness, body: bytes) -> None:
    with pytest.raises(InvalidInput) as refused:
        await harness.post(body)
    assert refused.value.code == "invalid_event"
    assert await harness.query(inbox.count_waiting) == 0


@pytest.mark.parametrize(
    "odd",
    [
        {"data": None},
        {"data": []},
        {"data": {"object": []}},
        {"data": {"object": {"customer": 5}}},
        {"data": {"object": {"customer": "cus_\ud800"}}},
        {"data": {"object": {"customer": {"id": ["cus_1"]}}}},
        {"data": {"object": {"customer": "c" * 300}}},
        {"account": {"a": 1}, "api_version": 3},
        {"account": "acct_\x00", "api_version": "\ud83d"},
        {"related_object": "cus_1"},
        {"related_object": {"type": ["customer"], "id": None}},
        {"related_object": {"type": "subscription", "id": "../customers"}},
        {"related_object": {"type": "subscription", "id": 1}},
    ],
)
async def test_an_event_of_odd_parts_is_kept_and_ignored_without_a_question(
    harness: Harness, odd: dict[str, Any]
) -> None:
    assert await harness.post({**EVENT, "data": None, **odd}) is True
    await harness.settle()
    event = await stored(harness)
    assert event is not None
    assert event.state == "ignored"
    assert list(harness.stripe.api.log) == []


async def test_an_event_of_the_largest_size_is_taken(harness: Harness) -> None:
    frame = len(json.dumps({**EVENT, "padding": ""}))
    event = {**EVENT, "padding": "x" * (MAX_EVENT_BYTES - frame)}
    assert await harness.post(event) is True


async def test_an_event_of_the_other_mode_is_acknowledged_ignored_and_alerted_once(harness: Harness) -> None:
    await harness.subscribed("u1")
    live = {**EVENT, "livemode": True, "data": {"object": {"customer": await harness.customer_id("u1")}}}
    harness.forget_requests()
    assert [await harness.post(live), await harness.post(live)] == [True, False]
    await harness.settle()
    event = await stored(harness)
    assert event is not None
    assert event.state == "ignored"
    assert [(each.kind, each.subject, each.count) for each in await harness.query(alerts.live)] == [
        ("livemode_mismatch", "live", 1)
    ]
    assert harness.requests("GET", "/") == []


async def test_an_event_of_an_unknown_customer_makes_no_refresh(harness: Harness) -> None:
    await harness.post(EVENT)
    assert await route_events(harness.billing) == 1
    event = await stored(harness)
    assert event is not None
    assert (event.state, await refreshes_wanted(harness)) == ("ignored", 0)


async def test_an_event_goes_to_the_owner_of_its_customer_and_to_nobody_else(harness: Harness) -> None:
    await harness.checkout("u1")
    await harness.checkout("u1", "plus", app_id="studio")
    await harness.deliver()
    await harness.settle()
    customer_id = await harness.customer_id("u1", "studio")
    await harness.post({**EVENT, "data": {"object": {"object": "invoice", "customer": {"id": customer_id}}}})
    await route_events(harness.billing)
    event = await stored(harness)
    assert event is not None
    assert (event.state, event.app_id, event.user_id) == ("handled", "studio", "u1")
    assert [(lease.app_id, lease.user_id) for lease in await harness.lease()] == [("studio", "u1")]


@pytest.mark.parametrize("about", ["subscription", "invoice", "checkout.session", "customer"])
async def test_a_thin_event_is_routed_by_the_object_that_it_names(harness: Harness, about: str) -> None:
    subscription_id = await harness.buy("u1")
    harness.events()
    subscription = harness.stripe.state.find("subscription", subscription_id)
    ids = {
        "subscription": subscription_id,
        "invoice": subscription["latest_invoice"],
        "checkout.session": harness.stripe.state.all("checkout.session")[-1]["id"],
        "customer": subscription["customer"],
    }
    await harness.post(thin(f"v1.{about}.updated", about, ids[about]))
    await harness.settle()
    assert await harness.tier("u1") == "pro"


async def test_a_thin_event_waits_while_stripe_is_down_and_delays_no_other(harness: Harness) -> None:
    subscription_id = await harness.buy("u1")
    other = await harness.buy("u2")
    harness.events()
    fault = harness.stripe.fault("status", f"/v1/subscriptions/{subscription_id}", times=99, status=503)
    await harness.post(thin("v1.customer.subscription.created", "subscription", subscription_id))
    customer_id = harness.stripe.state.find("subscription", other)["customer"]
    await harness.post({**EVENT, "data": {"object": {"object": "subscription", "customer": customer_id}}})
    await harness.settle()
    assert (await harness.tier("u1"), await harness.tier("u2")) == ("free", "pro")
    event = await stored(harness, "evt_thin")
    assert event is not None
    assert (event.state, event.attempts) == ("waiting", 1)
    fault.times = 0
    harness.move(DAY)
    await harness.settle()
    assert await harness.tier("u1") == "pro"


async def test_a_thin_event_about_nothing_that_exists_is_ignored(harness: Harness) -> None:
    await harness.post(thin("v1.customer.subscription.created", "subscription", "sub_gone"))
    await harness.settle()
    event = await stored(harness, "evt_thin")
    assert event is not None
    assert event.state == "ignored"


async def test_a_thin_events_own_url_is_never_followed(harness: Harness) -> None:
    event = thin("v1.customer.subscription.created", "subscription", "sub_gone")
    event["related_object"]["url"] = "/v1/customers?limit=100"
    await harness.post(event)
    await harness.settle()
    assert [request.path for request in harness.stripe.api.log] == ["/v1/subscriptions/sub_gone"]


@pytest.mark.parametrize(
    "customer",
    ["cus_x/../../v1/refunds?", "cus_x?expand[]=x", "..", "cus x", "cus_x\u00e9", {"id": "cus_x/../../v1/refunds"}],
)
async def test_an_id_that_is_none_of_stripes_is_in_no_url_and_the_event_is_still_accepted(
    harness: Harness, customer: Any
) -> None:
    """Signed, so it is answered 200; it names no customer, and no request is sent to Stripe."""
    document = {**EVENT, "data": {"object": {"id": "sub_1", "object": "subscription", "customer": customer}}}
    harness.stripe.api.log.clear()
    assert await harness.post(document) is True
    await harness.settle()
    assert [request.path for request in harness.stripe.api.log] == []
    event = await stored(harness)
    assert event is not None
    assert (event.state, event.customer_id) == ("ignored", None)


async def test_a_thin_event_about_an_id_that_is_none_of_stripes_asks_nothing(harness: Harness) -> None:
    harness.stripe.api.log.clear()
    assert await harness.post(thin("v1.customer.updated", "customer", "cus_x/../../v1/refunds?")) is True
    await harness.settle()
    assert not harness.stripe.api.log
