"""Customers, products, prices, lists."""

from __future__ import annotations

import itertools

from stripe_stage import Box


async def test_a_customer_is_written_read_changed_and_deleted(box: Box) -> None:
    customer = await box.customer(email="ada@example.com", name="Ada", **{"metadata[a]": "1", "metadata[b]": "2"})
    assert customer["id"].startswith("cus_")
    changed = await box.ok(
        "POST", f"/v1/customers/{customer['id']}", {"name": "", "metadata[a]": "", "metadata[c]": "3"}
    )
    assert (changed["name"], changed["metadata"]) == (None, {"b": "2", "c": "3"})
    cleared = await box.ok("POST", f"/v1/customers/{customer['id']}", {"metadata": ""})
    assert cleared["metadata"] == {}
    gone = {"id": customer["id"], "object": "customer", "deleted": True}
    assert await box.ok("DELETE", f"/v1/customers/{customer['id']}") == gone
    assert await box.ok("GET", f"/v1/customers/{customer['id']}") == gone
    assert (await box.call("DELETE", f"/v1/customers/{customer['id']}"))[0] == 404
    assert (await box.ok("GET", "/v1/customers"))["data"] == []


async def test_deleting_a_customer_cancels_subscriptions_and_ends_checkouts_with_it(box: Box) -> None:
    subscription = await box.subscribed()
    await box.ok("DELETE", f"/v1/customers/{subscription['customer']}")
    assert (await box.subscription(subscription["id"]))["status"] == "canceled"
    assert box.event_types()[-2:] == ["customer.subscription.deleted", "customer.deleted"]
    status, answer = await box.call(
        "POST",
        "/v1/checkout/sessions",
        {
            "mode": "subscription",
            "customer": subscription["customer"],
            "line_items[0][price]": "price_pro",
            "line_items[0][quantity]": 1,
            "success_url": "http://app.test/",
        },
    )
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, "resource_missing", "customer")


async def test_metadata_keeps_keys_that_look_like_ours(box: Box) -> None:
    """Hidden fields start with `_`; a customer's own keys may too."""
    customer = await box.customer(**{"metadata[_x]": "1", "metadata[object]": "item", "metadata[price]": "nope"})
    assert customer["metadata"] == {"_x": "1", "object": "item", "price": "nope"}


async def test_prices_are_found_by_lookup_key_product_and_activity(box: Box) -> None:
    async def ids(**form: object) -> list[str]:
        return [price["id"] for price in (await box.ok("GET", "/v1/prices", dict(form)))["data"]]

    assert await ids(**{"lookup_keys[]": "pro_month"}) == ["price_pro"]
    assert await ids(**{"lookup_keys[0]": "pro_month", "lookup_keys[1]": "enterprise_month"}) == [
        "price_123",
        "price_pro",
    ]
    assert await ids(**{"lookup_keys[]": "nothing"}) == []
    assert await ids(product="prod_pro") == ["price_pro_year", "price_pro"]
    assert await ids(**{"recurring[interval]": "year"}) == ["price_pro_year"]
    await box.ok("POST", "/v1/prices/price_pro", {"active": False})
    assert await ids(active=True, product="prod_pro") == ["price_pro_year"]
    assert await ids(active=False) == ["price_pro"]
    expanded = await box.ok("GET", "/v1/prices", {"expand[]": "data.product", "product": "prod_pro"})
    assert expanded["data"][0]["product"]["name"] == "Pro"


async def test_a_lookup_key_moves_only_on_request(box: Box) -> None:
    """T15: the old price loses it, and its subscribers stay where they are."""
    subscription = await box.subscribed()
    new = {
        "product": "prod_pro",
        "unit_amount": 2500,
        "currency": "usd",
        "recurring[interval]": "month",
        "lookup_key": "pro_month",
    }
    status, answer = await box.call("POST", "/v1/prices", new)
    assert (status, answer["error"]["param"]) == (400, "lookup_key")
    price = await box.ok("POST", "/v1/prices", {**new, "transfer_lookup_key": True})
    assert price["lookup_key"] == "pro_month"
    assert (await box.ok("GET", "/v1/prices/price_pro"))["lookup_key"] is None
    item = (await box.subscription(subscription["id"]))["items"]["data"][0]
    assert (item["price"]["id"], item["price"]["lookup_key"]) == ("price_pro", None)
    event = box.sandbox.state.all("event")[-2]
    assert (event["type"], event["data"]["previous_attributes"]) == ("price.updated", {"lookup_key": "pro_month"})


async def test_products_are_written_and_listed(box: Box) -> None:
    product = await box.ok("POST", "/v1/products", {"name": "Basic", "metadata[a]": "b"})
    await box.ok("POST", f"/v1/products/{product['id']}", {"active": False})
    assert [each["id"] for each in (await box.ok("GET", "/v1/products", {"active": False}))["data"]] == [product["id"]]
    assert (await box.ok("GET", f"/v1/products/{product['id']}"))["metadata"] == {"a": "b"}
    status, answer = await box.call("POST", "/v1/products", {"name": "Again", "id": "prod_pro"})
    assert (status, answer["error"]["code"]) == (400, "resource_already_exists")


async def test_pages_meet_without_gap_or_overlap(box: Box) -> None:
    made = [(await box.customer(email=f"u{n}@b.c"))["id"] for n in range(7)]
    newest = made[::-1]
    first = await box.ok("GET", "/v1/customers", {"limit": 3})
    assert ([c["id"] for c in first["data"]], first["has_more"]) == (newest[:3], True)
    rest = await box.ok("GET", "/v1/customers", {"limit": 4, "starting_after": newest[2]})
    assert ([c["id"] for c in rest["data"]], rest["has_more"]) == (newest[3:], False)
    back = await box.ok("GET", "/v1/customers", {"limit": 2, "ending_before": newest[3]})
    assert ([c["id"] for c in back["data"]], back["has_more"]) == (newest[1:3], True)
    assert first["url"] == "/v1/customers"
    for _ in itertools.repeat(None, 4):
        made.append((await box.customer())["id"])
    whole = await box.ok("GET", "/v1/customers")
    assert (len(whole["data"]), whole["has_more"]) == (10, True)
    found = await box.ok("GET", "/v1/customers", {"email": "u3@b.c"})
    assert [c["id"] for c in found["data"]] == [made[3]]


async def test_lists_are_cut_by_time(box: Box) -> None:
    await box.customer(email="early@b.c")
    box.sandbox.advance(100)
    late = await box.customer(email="late@b.c")
    found = await box.ok("GET", "/v1/customers", {"created[gte]": late["created"]})
    assert [c["email"] for c in found["data"]] == ["late@b.c"]
    found = await box.ok("GET", "/v1/customers", {"created[lt]": late["created"]})
    assert [c["email"] for c in found["data"]] == ["early@b.c"]


async def test_a_customer_carries_subscriptions_only_when_asked(box: Box) -> None:
    subscription = await box.subscribed()
    path = f"/v1/customers/{subscription['customer']}"
    assert "subscriptions" not in await box.ok("GET", path)
    listed = (await box.ok("GET", path, {"expand[]": "subscriptions"}))["subscriptions"]
    assert [each["id"] for each in listed["data"]] == [subscription["id"]]


async def test_the_list_of_entitlements_is_empty(box: Box) -> None:
    customer = await box.customer()
    listed = await box.ok("GET", "/v1/entitlements/active_entitlements", {"customer": customer["id"]})
    assert listed["data"] == []
