"""The billing portal: configurations, sessions, deep links, and its page's buttons."""

from __future__ import annotations

from typing import Any

import pytest
from stripe_stage import DAY, Box, Start, seed

from gateway.sandbox.stripe import Settings

Json = dict[str, Any]
OURS = {
    "features[subscription_update][enabled]": True,
    "features[subscription_update][default_allowed_updates][0]": "price",
    "features[subscription_update][proration_behavior]": "always_invoice",
    "features[subscription_update][products][0][product]": "prod_pro",
    "features[subscription_update][products][0][prices][0]": "price_pro",
    "features[subscription_update][products][1][product]": "prod_enterprise",
    "features[subscription_update][products][1][prices][0]": "price_123",
    "features[subscription_update][schedule_at_period_end][conditions][0][type]": "decreasing_item_amount",
    "features[subscription_update][schedule_at_period_end][conditions][1][type]": "shortening_interval",
    "features[subscription_cancel][enabled]": True,
    "features[payment_method_update][enabled]": True,
    "features[invoice_history][enabled]": True,
}


async def _configuration(box: Box, **change: Any) -> str:
    made = await box.ok("POST", "/v1/billing_portal/configurations", {**OURS, **change})
    return str(made["id"])


async def _portal(box: Box, subscription: Json, **form: Any) -> Json:
    return await box.ok(
        "POST",
        "/v1/billing_portal/sessions",
        {"customer": subscription["customer"], "return_url": "http://app.test/back", **form},
    )


async def test_the_page_shows_the_subscription_and_the_way_back(box: Box) -> None:
    subscription = await box.subscribed()
    session = await _portal(box, subscription)
    assert session["url"].startswith(f"{box.url}/p/session/")
    assert session["flow"] is None
    status, text = await box.page(session["url"])
    assert status == 200
    for expected in ("SANDBOX", "Pro, 20.00 USD per month", "Status: active", "http://app.test/back", "price_123"):
        assert expected in text


async def test_only_the_prices_of_the_configuration_are_offered(box: Box) -> None:
    subscription = await box.subscribed()
    session = await _portal(box, subscription, configuration=await _configuration(box))
    _, text = await box.page(session["url"])
    assert "price_123" in text
    assert "price_pro_year" not in text
    status, _, text = await box.click(
        session["url"], action="change_plan", subscription=subscription["id"], price="price_pro_year"
    )
    assert status == 402
    assert "not offered" in text


async def test_an_upgrade_happens_now_and_is_invoiced(box: Box) -> None:
    subscription = await box.subscribed()
    session = await _portal(box, subscription, configuration=await _configuration(box))
    status, location, _ = await box.click(
        session["url"], action="change_plan", subscription=subscription["id"], price="price_123"
    )
    assert (status, location.endswith("said=changed")) == (303, True)
    changed = await box.subscription(subscription["id"])
    assert changed["items"]["data"][0]["price"]["id"] == "price_123"
    invoice = await box.ok("GET", f"/v1/invoices/{changed['latest_invoice']}")
    assert (invoice["billing_reason"], invoice["status"], invoice["amount_paid"] > 2900) == (
        "subscription_update",
        "paid",
        True,
    )


async def test_an_upgrade_with_a_declined_card_changes_nothing(box: Box) -> None:
    """T17."""
    subscription = await box.subscribed()
    session = await _portal(box, subscription, configuration=await _configuration(box))
    await box.click(session["url"], action="card_fail")
    status, _, text = await box.click(
        session["url"], action="change_plan", subscription=subscription["id"], price="price_123"
    )
    assert status == 402
    assert "declined" in text
    assert await box.subscription(subscription["id"]) == subscription


async def test_a_downgrade_waits_for_the_end_of_the_period(box: Box) -> None:
    subscription = await box.subscribed("price_123")
    session = await _portal(box, subscription, configuration=await _configuration(box))
    _, location, _ = await box.click(
        session["url"], action="change_plan", subscription=subscription["id"], price="price_pro"
    )
    assert location.endswith("said=scheduled")
    waiting = await box.subscription(subscription["id"])
    assert (waiting["items"]["data"][0]["price"]["id"], waiting["status"]) == ("price_123", "active")
    schedule = await box.ok("GET", f"/v1/subscription_schedules/{waiting['schedule']}")
    assert [phase["items"][0]["price"] for phase in schedule["phases"]] == ["price_123", "price_pro"]
    status, answer = await box.call("POST", f"/v1/subscriptions/{subscription['id']}", {"cancel_at_period_end": True})
    assert status == 400
    assert "managed by the subscription schedule" in answer["error"]["message"]
    assert (await box.call("POST", f"/v1/subscriptions/{subscription['id']}/pause"))[0] == 400
    box.sandbox.advance(32 * DAY)
    changed = await box.subscription(subscription["id"])
    assert changed["items"]["data"][0]["price"]["id"] == "price_pro"
    assert (await box.ok("GET", f"/v1/invoices/{changed['latest_invoice']}"))["total"] == 2000
    box.sandbox.advance(31 * DAY)
    assert (await box.subscription(subscription["id"]))["schedule"] is None
    listed = await box.ok("GET", "/v1/subscription_schedules", {"customer": subscription["customer"]})
    assert [each["status"] for each in listed["data"]] == ["released"]


async def test_releasing_a_schedule_takes_the_downgrade_back(box: Box) -> None:
    subscription = await box.subscribed("price_123")
    session = await _portal(box, subscription, configuration=await _configuration(box))
    await box.click(session["url"], action="change_plan", subscription=subscription["id"], price="price_pro")
    schedule_id = (await box.subscription(subscription["id"]))["schedule"]
    released = await box.ok("POST", f"/v1/subscription_schedules/{schedule_id}/release")
    assert (released["status"], released["released_subscription"]) == ("released", subscription["id"])
    box.sandbox.advance(32 * DAY)
    assert (await box.subscription(subscription["id"]))["items"]["data"][0]["price"]["id"] == "price_123"
    status, _ = await box.call("POST", f"/v1/subscription_schedules/{schedule_id}/release")
    assert status == 400


@pytest.mark.parametrize(("billing_mode", "flag"), [("flexible", False), ("classic", True)])
async def test_canceling_shows_in_cancel_at_and_only_classic_billing_sets_the_flag(
    box: Box, billing_mode: str, flag: bool
) -> None:
    """chatwoot PR#15666: whoever reads only the flag never shows an end."""
    subscription = await box.subscribed(**{"subscription_data[billing_mode][type]": billing_mode})
    session = await _portal(box, subscription)
    assert (await box.click(session["url"], action="cancel", subscription=subscription["id"]))[0] == 303
    ending = await box.subscription(subscription["id"])
    assert ending["cancel_at"] == subscription["items"]["data"][0]["current_period_end"]
    assert (ending["cancel_at_period_end"], ending["status"]) == (flag, "active")
    _, text = await box.page(session["url"])
    assert "ends on" in text or ", ends " in text
    await box.click(session["url"], action="keep", subscription=subscription["id"])
    kept = await box.subscription(subscription["id"])
    assert (kept["cancel_at"], kept["cancel_at_period_end"]) == (None, False)
    await box.click(session["url"], action="cancel_now", subscription=subscription["id"])
    assert (await box.subscription(subscription["id"]))["status"] == "canceled"
    _, text = await box.page(session["url"])
    assert "no subscription" in text


async def test_a_new_card_and_the_open_invoice(box: Box) -> None:
    subscription = await box.subscribed()
    box.sandbox.fail_next_renewal(subscription["id"])
    session = await _portal(box, subscription)
    assert (await box.click(session["url"], action="pay_invoice", subscription=subscription["id"]))[0] == 402
    assert (await box.click(session["url"], action="card_ok"))[0] == 303
    assert (await box.subscription(subscription["id"]))["status"] == "past_due"
    assert (await box.click(session["url"], action="pay_invoice", subscription=subscription["id"]))[0] == 303
    assert (await box.subscription(subscription["id"]))["status"] == "active"


async def test_a_deep_link_confirms_one_change_and_returns(box: Box) -> None:
    subscription = await box.subscribed()
    session = await _portal(
        box,
        subscription,
        configuration=await _configuration(box),
        **{
            "flow_data[type]": "subscription_update_confirm",
            "flow_data[subscription_update_confirm][subscription]": subscription["id"],
            "flow_data[subscription_update_confirm][items][0][id]": subscription["items"]["data"][0]["id"],
            "flow_data[subscription_update_confirm][items][0][price]": "price_123",
            "flow_data[after_completion][type]": "redirect",
            "flow_data[after_completion][redirect][return_url]": "http://app.test/upgraded",
        },
    )
    _, text = await box.page(session["url"])
    assert "New plan: Enterprise, 50.00 USD per month" in text
    assert "Cancel now" not in text
    status, location, _ = await box.click(
        session["url"], action="change_plan", subscription=subscription["id"], price="price_123"
    )
    assert (status, location) == (303, "http://app.test/upgraded")
    assert (await box.subscription(subscription["id"]))["items"]["data"][0]["price"]["id"] == "price_123"


@pytest.mark.parametrize(
    ("kind", "shown", "hidden"),
    [
        ("subscription_update", "Change plan", "Cancel now"),
        ("subscription_cancel", "Cancel now", "Change plan"),
        ("payment_method_update", "Use a card that works", "Change plan"),
    ],
)
async def test_a_deep_link_lands_on_its_step(box: Box, kind: str, shown: str, hidden: str) -> None:
    subscription = await box.subscribed()
    detail = {} if kind == "payment_method_update" else {f"flow_data[{kind}][subscription]": subscription["id"]}
    session = await _portal(box, subscription, **{"flow_data[type]": kind, **detail})
    assert session["flow"]["type"] == kind
    _, text = await box.page(session["url"])
    assert shown in text
    assert hidden not in text


async def test_a_deep_link_can_end_with_a_confirmation(box: Box) -> None:
    subscription = await box.subscribed()
    session = await _portal(
        box,
        subscription,
        **{
            "flow_data[type]": "subscription_cancel",
            "flow_data[subscription_cancel][subscription]": subscription["id"],
            "flow_data[after_completion][type]": "hosted_confirmation",
            "flow_data[after_completion][hosted_confirmation][custom_message]": "So <long>!",
        },
    )
    status, _, text = await box.click(session["url"], action="cancel", subscription=subscription["id"])
    assert status == 200
    assert "So &lt;long&gt;!" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flow_data[type]": "subscription_cancel"}, "Missing required param: flow_data[subscription_cancel]."),
        (
            {"flow_data[type]": "subscription_update", "flow_data[subscription_update][subscription]": "sub_x"},
            "No such subscription: 'sub_x'",
        ),
        ({"configuration": "bpc_x"}, "No such configuration: 'bpc_x'"),
        ({"customer": "cus_x"}, "No such customer: 'cus_x'"),
        ({"return_url": "ftp://x"}, "Not a valid URL"),
    ],
)
async def test_sessions_that_are_refused(box: Box, change: Json, message: str) -> None:
    customer = await box.customer()
    status, answer = await box.call("POST", "/v1/billing_portal/sessions", {"customer": customer["id"], **change})
    assert (status, answer["error"]["message"]) == (400, message)


async def test_a_deep_link_is_refused_for_what_is_not_theirs_not_on_or_not_offered(box: Box) -> None:
    mine, other = await box.subscribed(), await box.subscribed()
    off = await _configuration(box, **{"features[subscription_cancel][enabled]": False})
    confirm = {
        "flow_data[type]": "subscription_update_confirm",
        "flow_data[subscription_update_confirm][subscription]": mine["id"],
        "flow_data[subscription_update_confirm][items][0][id]": mine["items"]["data"][0]["id"],
        "flow_data[subscription_update_confirm][items][0][price]": "price_pro_year",
    }
    cancel = {"flow_data[type]": "subscription_cancel"}
    for form, message in (
        ({**cancel, "flow_data[subscription_cancel][subscription]": other["id"]}, "does not belong to the customer"),
        ({**cancel, "flow_data[subscription_cancel][subscription]": mine["id"], "configuration": off}, "disabled"),
        ({**confirm, "configuration": off}, "not among the products"),
    ):
        status, answer = await box.call("POST", "/v1/billing_portal/sessions", {"customer": mine["customer"], **form})
        assert status == 400
        assert message in answer["error"]["message"]
    await box.ok("POST", f"/v1/subscriptions/{mine['id']}", {"items[0][price]": "price_123"})
    status, answer = await box.call("POST", "/v1/billing_portal/sessions", {"customer": mine["customer"], **confirm})
    assert status == 400
    assert "multiple items" in answer["error"]["message"]


async def test_another_customers_subscription_is_out_of_reach(box: Box) -> None:
    mine, other = await box.subscribed(), await box.subscribed()
    session = await _portal(box, mine)
    status, _, _ = await box.click(session["url"], action="cancel_now", subscription=other["id"])
    assert status == 402
    assert (await box.subscription(other["id"]))["status"] == "active"


async def test_buttons_follow_the_configuration(box: Box) -> None:
    subscription = await box.subscribed()
    bare = await box.ok(
        "POST", "/v1/billing_portal/configurations", {"features[invoice_history][enabled]": True, "name": "bare"}
    )
    session = await _portal(box, subscription, configuration=bare["id"])
    _, text = await box.page(session["url"])
    assert "<button" not in text
    status, _, text = await box.click(session["url"], action="cancel_now", subscription=subscription["id"])
    assert status == 402
    assert "does not allow" in text


async def test_configurations_are_changed_listed_and_switched_off(box: Box) -> None:
    configuration_id = await _configuration(box, **{"metadata[app_id]": "skai"})
    path = f"/v1/billing_portal/configurations/{configuration_id}"
    made = await box.ok("GET", path)
    assert made["features"]["subscription_update"]["products"][0]["prices"] == ["price_pro"]
    assert (made["is_default"], made["active"], made["login_page"]["enabled"]) == (False, True, False)
    changed = await box.ok("POST", path, {"features[subscription_cancel][mode]": "immediately", "active": False})
    assert changed["features"]["subscription_cancel"]["mode"] == "immediately"
    assert changed["features"]["subscription_update"] == made["features"]["subscription_update"]
    assert [each["id"] for each in (await box.ok("GET", path.rpartition("/")[0], {"active": False}))["data"]] == [
        configuration_id
    ]
    subscription = await box.subscribed()
    status, _ = await box.call(
        "POST",
        "/v1/billing_portal/sessions",
        {"customer": subscription["customer"], "configuration": configuration_id},
    )
    assert status == 400
    status, answer = await box.call(
        "POST",
        "/v1/billing_portal/configurations",
        {**OURS, "features[subscription_update][products][0][prices][0]": "price_123"},
    )
    assert status == 400
    assert "does not belong" in answer["error"]["message"]


async def test_a_proration_left_out_is_none(box: Box) -> None:
    """T17: Stripe's default gives the difference away."""
    form = {name: value for name, value in OURS.items() if "proration" not in name}
    made = await box.ok("POST", "/v1/billing_portal/configurations", form)
    assert made["features"]["subscription_update"]["proration_behavior"] == "none"


async def test_an_account_without_saved_portal_settings_needs_a_configuration(start: Start) -> None:
    box = await start(settings=Settings(default_portal_configuration=False))
    seed(box.sandbox)
    customer = await box.customer()
    status, answer = await box.call("POST", "/v1/billing_portal/sessions", {"customer": customer["id"]})
    assert status == 400
    assert answer["error"]["message"].startswith("No configuration provided")


async def test_links_are_short_lived(box: Box) -> None:
    session = await _portal(box, await box.subscribed())
    box.sandbox.advance(3700)
    assert (await box.page(session["url"]))[0] == 404
    assert (await box.click(session["url"], action="card_ok"))[0] == 404
