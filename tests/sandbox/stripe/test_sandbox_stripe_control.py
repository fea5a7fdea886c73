"""The control routes and the index page: what a demo and other tests reach over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from stripe_stage import DAY, KEY, Box, until

Json = dict[str, Any]


async def _control(box: Box, method: str, path: str, sent: Json | None = None) -> tuple[int, Json]:
    async with box.http.request(method, f"{box.url}/_sandbox/{path}", json=sent) as response:
        answer: Json = await response.json()
        return response.status, answer


async def test_the_state_holds_everything_and_no_secret(box: Box) -> None:
    subscription = await box.subscribed()
    status, state = await _control(box, "GET", "state")
    assert (status, state["account_id"], state["shape"]) == (200, box.sandbox.account_id, "endive")
    assert state["cards"] == {subscription["customer"]: "ok"}
    assert state["objects"]["subscription"] == [subscription]
    assert "whsec_" not in str(state)
    assert KEY not in str(state)


async def test_the_clock_moves_forward_only(box: Box) -> None:
    _, before = await _control(box, "GET", "state")
    _, after = await _control(box, "POST", "clock/advance", {"days": 2, "seconds": 5})
    assert after["now"] - before["now"] in (2 * DAY + 5, 2 * DAY + 6)
    assert (await _control(box, "POST", "clock/advance", {"seconds": -1}))[0] == 400


async def test_a_renewal_fails_and_is_paid_on_demand(box: Box) -> None:
    subscription = await box.subscribed()
    of_it = {"subscription": subscription["id"]}
    _, failed = await _control(box, "POST", "fail_renewal", of_it)
    assert failed["invoice"]["status"] == "open"
    assert (await box.subscription(subscription["id"]))["status"] == "past_due"
    _, paid = await _control(box, "POST", "pay_invoice", of_it)
    assert paid["invoice"]["status"] == "paid"
    _, renewed = await _control(box, "POST", "renew", {**of_it, "card": "ok"})
    assert renewed["invoice"]["status"] == "paid"
    await _control(box, "POST", "cancel", {**of_it, "reason": "payment_disputed"})
    gone = await box.subscription(subscription["id"])
    assert (gone["status"], gone["cancellation_details"]["reason"]) == ("canceled", "payment_disputed")
    assert (await _control(box, "POST", "renew", of_it))[1] == {"invoice": None}


@pytest.mark.parametrize(
    ("path", "sent", "status"),
    [
        ("card", {"customer": "cus_x"}, 404),
        ("card", {}, 400),
        ("renew", {"subscription": "sub_x"}, 404),
        ("renew", {"subscription": "sub_x", "card": "gold"}, 400),
        ("faults", {"effect": "earthquake"}, 400),
        ("faults", {"effect": "status", "surprise": 1}, 400),
        ("deliveries/resume", {"order": "sideways"}, 400),
        ("deliveries/resend", {"event": "evt_x"}, 404),
        ("emit", {"type": "x.y"}, 400),
    ],
)
async def test_controls_refuse_nonsense(box: Box, path: str, sent: Json, status: int) -> None:
    assert (await _control(box, "POST", path, sent))[0] == status


async def test_a_body_that_is_no_json_object_is_refused(box: Box) -> None:
    for body in (b"{", b"[]"):
        async with box.http.post(f"{box.url}/_sandbox/card", data=body) as response:
            assert response.status == 400


async def test_faults_are_ordered_and_cleared_over_http(box: Box) -> None:
    _, fault = await _control(box, "POST", "faults", {"effect": "status", "status": 503, "path": "/v1/prices"})
    assert (await _control(box, "GET", "faults"))[1]["faults"] == [fault]
    assert (await box.call("GET", "/v1/prices"))[0] == 503
    await _control(box, "POST", "faults", {"effect": "reset", "times": 9})
    await _control(box, "DELETE", "faults")
    assert (await box.call("GET", "/v1/prices"))[0] == 200


async def test_the_request_log_shows_what_was_sent(box: Box) -> None:
    await box.ok("POST", "/v1/customers", {"metadata[user_id]": "u1"}, Idempotency_Key="cus:1")
    await box.call("GET", "/v1/customers/cus_x")
    _, log = await _control(box, "GET", "requests")
    first, second = log["requests"]
    assert (first["method"], first["path"], first["status"]) == ("POST", "/v1/customers", 200)
    assert (first["params"], first["idempotency_key"]) == ({"metadata": {"user_id": "u1"}}, "cus:1")
    assert second["status"] == 404
    assert KEY not in str(log)
    assert (await _control(box, "DELETE", "requests"))[1] == {"requests": []}


async def test_deliveries_are_paused_resumed_and_resent_over_http(box: Box) -> None:
    await until(lambda: box.sandbox.deliveries.idle, "the seed delivered")
    before = len(box.receiver.got)
    await _control(box, "POST", "deliveries/pause")
    customer = await box.customer()
    _, waiting = await _control(box, "GET", "deliveries")
    assert (waiting["paused"], len(waiting["waiting"])) == (True, 1)
    await _control(box, "POST", "deliveries/resume", {"order": "shuffled", "copies": 3})
    await until(lambda: len(box.receiver.got) == before + 3, "three copies")
    event_id = waiting["waiting"][0]
    assert (await _control(box, "POST", "deliveries/resend", {"event": event_id}))[1] == {"endpoints": 1}
    await until(lambda: len(box.receiver.got) == before + 4, "one more")
    _, shown = await _control(box, "GET", "deliveries")
    assert {each["event_id"] for each in shown["log"][-4:]} == {event_id}
    assert customer["id"].encode() in box.receiver.got[-1][0]


async def test_an_event_can_be_emitted_over_http(box: Box) -> None:
    refund = {"id": "ch_1", "object": "charge", "refunded": True}
    _, answer = await _control(box, "POST", "emit", {"type": "charge.refunded", "object": refund})
    assert answer["event"]["data"]["object"] == refund
    box.sandbox.state.objects["event"].pop(answer["event"]["id"])


async def test_the_index_lists_and_drives_the_account(box: Box) -> None:
    subscription = await box.subscribed()
    _, text = await box.page(f"{box.url}/")
    for expected in ("ada@example.com", "Status: active", "Next renewal fails", "Advance 1 month"):
        assert expected in text
    home = f"{box.url}/"
    of_it = {"subscription": subscription["id"]}
    assert (await box.click(home, action="fail_renewal", **of_it))[:2] == (303, "/")
    assert (await box.subscription(subscription["id"]))["status"] == "past_due"
    await box.click(home, action="pay_invoice", **of_it)
    await box.click(home, action="card_ok", customer=subscription["customer"])
    await box.click(home, action="renew", **of_it)
    assert (await box.subscription(subscription["id"]))["status"] == "active"
    before = box.sandbox.state.time()
    await box.click(home, action="advance_day")
    await box.click(home, action="advance_month")
    assert box.sandbox.state.time() - before >= 32 * DAY
    await box.click(home, action="card_fail", customer=subscription["customer"])
    assert box.sandbox.state.cards[subscription["customer"]] == "fail"
    assert (await box.click(home, action="explode"))[0] == 400
    assert (await box.click(home, action="renew", subscription="sub_x"))[0] == 404


async def test_pages_forbid_framing_and_caching(box: Box) -> None:
    async with box.http.get(f"{box.url}/") as response:
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
        assert 'name="viewport"' in await response.text()
