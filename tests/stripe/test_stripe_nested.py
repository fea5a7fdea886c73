"""Every list inside an object that leaves the client is complete."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import UpstreamFailed
from gateway.sandbox.stripe import StripeSandbox
from gateway.settings import Secret
from gateway.stripe.nested import complete
from gateway.stripe.transport import Transport

Json = dict[str, Any]


def partial_lists(value: Any) -> list[Json]:
    """Every list in an answer that is only a part, the answer itself included."""
    if isinstance(value, list):
        return [found for item in value for found in partial_lists(item)]
    if not isinstance(value, dict):
        return []
    own = [value] if value.get("has_more") else []
    return own + [found for item in value.values() for found in partial_lists(item)]


@pytest.fixture
async def sandbox() -> AsyncIterator[tuple[StripeSandbox, Transport]]:
    stripe = StripeSandbox()
    stripe.settings.nested_list_length = 1
    async with TestServer(stripe.application()) as server, aiohttp.ClientSession() as http:
        yield stripe, Transport(http, (Secret("sk_test_sandbox"),), api_base=str(server.make_url("")))


async def sold(sandbox: StripeSandbox, client: Transport) -> Json:
    """A subscription of three items, and what hangs on it."""
    prices = [sandbox.add_price(sandbox.add_product(f"P{n}"), 100 * n)["id"] for n in (1, 2, 3)]
    customer = await client.post("/v1/customers", {})
    sandbox.set_card(customer["id"], "ok")
    fields = {"customer": customer["id"], "items": [{"price": price_id} for price_id in prices]}
    return await client.post("/v1/subscriptions", fields)


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("/v1/subscriptions/{subscription}", "items"),
        ("/v1/invoices/{invoice}", "lines"),
        ("/v1/charges/{charge}?expand[0]=refunds", "refunds"),
        ("/v1/customers/{customer}?expand[0]=subscriptions", "subscriptions"),
        ("/v1/subscriptions/{subscription}?expand[0]=latest_invoice", "latest_invoice.lines"),
    ],
)
async def test_a_list_inside_an_object_is_read_to_its_end(
    sandbox: tuple[StripeSandbox, Transport], path: str, inside: str
) -> None:
    stripe, client = sandbox
    subscription = await sold(stripe, client)
    for _ in range(2):
        second = {
            "customer": subscription["customer"],
            "items": [{"price": subscription["items"]["data"][0]["price"]["id"]}],
        }
        await client.post("/v1/subscriptions", second)
    charge = stripe.state.all("charge")[0]
    for _ in range(3):
        await client.post("/v1/refunds", {"charge": charge["id"], "amount": 1})
    ids = {"subscription": subscription["id"], "invoice": subscription["latest_invoice"],
           "charge": charge["id"], "customer": subscription["customer"]}  # fmt: skip
    folder, _, expanded = path.format(**ids).partition("?expand[0]=")
    answer = await client.get(folder, {"expand": [expanded]} if expanded else None)
    found: Any = answer
    for step in inside.split("."):
        found = found[step]
    assert len(found["data"]) == 3
    assert len({each["id"] for each in found["data"]}) == 3
    assert partial_lists(answer) == []


async def test_no_list_in_any_answer_is_a_part(sandbox: tuple[StripeSandbox, Transport]) -> None:
    stripe, client = sandbox
    await sold(stripe, client)
    for path in ("/v1/subscriptions", "/v1/invoices", "/v1/charges", "/v1/customers", "/v1/invoice_payments"):
        async for page in client.pages(path, {"expand": ["data.invoice"]} if path == "/v1/invoice_payments" else None):
            assert page
            assert partial_lists(page) == []


async def test_events_are_left_as_they_are(sandbox: tuple[StripeSandbox, Transport]) -> None:
    """They are snapshots: what is missing cannot be had any more, and nothing but ids is read from them."""
    stripe, client = sandbox
    await sold(stripe, client)
    stripe.api.log.clear()
    assert partial_lists([event async for event in client.list_all("/v1/events")])
    assert {request.path for request in stripe.api.log} == {"/v1/events"}


@pytest.mark.parametrize(
    "url", [None, "", "https://evil.example/v1/x", "//evil.example/v1", "/v1/../x", "/v1/a/..%2fb", "/v1/a#b", 5]
)
async def test_a_part_without_a_place_of_the_rest_is_refused(url: object) -> None:
    def pages(path: str, params: dict[str, str]) -> AsyncIterator[list[Json]]:
        raise AssertionError(f"asked for {path}")

    with pytest.raises(UpstreamFailed, match="a part of a list"):
        await complete({"lines": {"object": "list", "data": [], "has_more": True, "url": url}}, pages)


_LISTS = st.recursive(
    st.integers(),
    lambda inner: st.fixed_dictionaries({"object": st.just("list"), "data": st.lists(inner), "has_more": st.booleans(),
                                         "url": st.just("/v1/rest")})
    | st.dictionaries(st.sampled_from(["a", "b", "object"]), inner)
    | st.lists(inner),
)  # fmt: skip


@given(st.fixed_dictionaries({"id": st.just("x"), "inside": _LISTS}))
@settings(deadline=None)
async def test_whatever_the_shape_no_part_is_left(document: Json) -> None:
    async def pages(path: str, params: dict[str, str]) -> AsyncIterator[list[Json]]:
        assert path == "/v1/rest"
        yield [{"id": "whole"}]

    await complete(document, pages)
    assert partial_lists(document) == []
