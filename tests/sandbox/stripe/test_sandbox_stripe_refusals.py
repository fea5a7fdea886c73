"""What the sandbox refuses, in Stripe's words."""

from __future__ import annotations

import pytest
from stripe_stage import KEY, Box


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({}, "You did not provide an API key."),
        ({"Authorization": "Bearer "}, "You did not provide an API key."),
        ({"Authorization": f"Basic {KEY}"}, "You did not provide an API key."),
        ({"Authorization": "Bearer sk_test_wrong9876"}, "Invalid API Key provided: sk_test_****9876"),
        ({"Authorization": "Bearer junk"}, "Invalid API Key provided: ****junk"),
    ],
)
async def test_a_missing_or_wrong_key_is_401(box: Box, header: dict[str, str], message: str) -> None:
    async with box.http.get(f"{box.url}/v1/customers", headers=header) as response:
        assert response.status == 401
        error = (await response.json())["error"]
    assert error["message"].startswith(message)
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("method", "path", "form", "status", "code", "message"),
    [
        ("GET", "/v1/customers/cus_x", {}, 404, "resource_missing", "No such customer: 'cus_x'"),
        ("POST", "/v1/customers/cus_x", {}, 404, "resource_missing", "No such customer: 'cus_x'"),
        ("GET", "/v1/subscriptions/sub_x", {}, 404, "resource_missing", "No such subscription: 'sub_x'"),
        ("GET", "/v1/prices/price_x", {}, 404, "resource_missing", "No such price: 'price_x'"),
        ("GET", "/v1/subscriptions", {"customer": "cus_x"}, 400, "resource_missing", "No such customer: 'cus_x'"),
        ("GET", "/v1/invoices", {"customer": "cus_x"}, 400, "resource_missing", "No such customer: 'cus_x'"),
        ("GET", "/v1/prices", {"product": "p", "foo": 1}, 400, "parameter_unknown", "Received unknown parameter: foo"),
        ("POST", "/v1/prices", {"product": "p"}, 400, "parameter_missing", "Missing required param: currency."),
        ("POST", "/v1/customers", {"email": "nobody"}, 400, "email_invalid", "Invalid email address: nobody"),
        ("GET", "/v1/customers", {"limit": 500}, 400, "parameter_invalid_integer", "This value must be less than or"),
        ("GET", "/v1/customers", {"starting_after": "cus_x"}, 400, "resource_missing", "No such object: 'cus_x'"),
        ("GET", "/v1/customers/", {}, 404, None, "Unrecognized request URL (GET: /v1/customers/)."),
        ("DELETE", "/v1/prices/price_pro", {}, 404, None, "Unrecognized request URL (DELETE: /v1/prices/price_pro)."),
        ("GET", "/v1/prices/price_pro", {"expand[0]": "nothing"}, 400, None, "This property cannot be expanded"),
        ("GET", "/v1/prices/price_pro", {"expand[0]": "unit_amount"}, 400, None, "This property cannot be expanded"),
        ("GET", "/v1/prices/price_pro", {"expand[0]": "a.b.c.d.e"}, 400, None, "You cannot expand more than 4 levels"),
    ],
)
async def test_refusals(
    box: Box, method: str, path: str, form: dict[str, object], status: int, code: str | None, message: str
) -> None:
    got, answer = await box.call(method, path, form)
    assert (got, answer["error"].get("code")) == (status, code)
    assert answer["error"]["message"].startswith(message)


async def test_checkout_names_the_price_it_does_not_know(box: Box) -> None:
    customer = await box.customer()
    form = {
        "mode": "subscription",
        "customer": customer["id"],
        "line_items[0][price]": "price_x",
        "line_items[0][quantity]": 1,
        "success_url": "http://app.test/",
    }
    status, answer = await box.call("POST", "/v1/checkout/sessions", form)
    assert (status, answer["error"]["param"]) == (400, "line_items[0][price]")
    for removed in ("payment_method_types[0]", "coupon"):
        status, answer = await box.call("POST", "/v1/checkout/sessions", {**form, removed: "card"})
        assert (status, answer["error"]["code"]) == (400, "parameter_unknown")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"success_url": "javascript:alert(1)"}, "Not a valid URL"),
        ({"mode": "payment"}, "The sandbox only knows mode"),
        ({"expires_at": 12}, "The `expires_at` timestamp must be between"),
        ({"customer_email": "a@b.c"}, "You may only specify one of these parameters"),
        ({"ui_mode": "hosted"}, "Invalid ui_mode"),
        ({"discounts[0][coupon]": "FREE"}, "No such coupon: 'FREE'"),
        ({"automatic_tax[enabled]": True}, "Automatic tax calculation in Checkout requires"),
        ({"line_items[0][quantity]": 0}, "This value must be greater than or equal to 1"),
    ],
)
async def test_checkout_refuses_what_stripe_refuses(box: Box, change: dict[str, object], message: str) -> None:
    customer = await box.customer()
    form = {
        "mode": "subscription",
        "customer": customer["id"],
        "line_items[0][price]": "price_pro",
        "line_items[0][quantity]": 1,
        "success_url": "http://app.test/",
        **change,
    }
    status, answer = await box.call("POST", "/v1/checkout/sessions", form)
    assert status == 400
    assert answer["error"]["message"].startswith(message)


async def test_an_inactive_or_one_time_price_cannot_be_subscribed_to(box: Box) -> None:
    customer = await box.customer()
    once = box.sandbox.add_price("prod_pro", 100, interval=None)
    await box.ok("POST", "/v1/prices/price_123", {"active": False})
    for price_id, message in (
        (once["id"], "You must provide at least one recurring"),
        ("price_123", "The price specified"),
    ):
        status, answer = await box.call(
            "POST",
            "/v1/checkout/sessions",
            {
                "mode": "subscription",
                "customer": customer["id"],
                "line_items[0][price]": price_id,
                "line_items[0][quantity]": 1,
                "success_url": "http://app.test/",
            },
        )
        assert status == 400
        assert answer["error"]["message"].startswith(message)


async def test_every_answer_has_a_request_id_and_echoes_the_version(box: Box) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Stripe-Version": "2024-06-20"}
    async with box.http.get(f"{box.url}/v1/customers", headers=headers) as response:
        assert response.headers["Request-Id"].startswith("req_")
        assert response.headers["Stripe-Version"] == "2024-06-20"
    async with box.http.get(f"{box.url}/v1/customers", headers={}) as response:
        assert response.status == 401
        assert response.headers["Request-Id"].startswith("req_")
    status, answer = await box.call("GET", "/v1/customers", Stripe_Version="yesterday")
    assert (status, answer["error"]["message"]) == (400, "Invalid Stripe API version: yesterday")


async def test_json_is_no_form(box: Box) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    async with box.http.post(f"{box.url}/v1/customers", json={"email": "a@b.c"}, headers=headers) as response:
        assert response.status == 400
        assert "application/x-www-form-urlencoded" in (await response.json())["error"]["message"]
