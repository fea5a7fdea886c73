"""The sandbox against Stripe's published schema, and proof that the guard over all these tests is awake."""

from __future__ import annotations

from typing import Any

import pytest
from stripe_openapi import UNPUBLISHED, Guard, document, object_problems, operation, request_schema
from stripe_stage import Box

from gateway.sandbox.stripe.api import ROUTES
from gateway.sandbox.stripe.calls import Route
from gateway.sandbox.stripe.params import Either, Hash, Kind, Many, OneOf

PUBLISHED = [route for route in ROUTES if route.path not in UNPUBLISHED]


def _name(route: Route) -> str:
    return f"{route.method} {route.path}"


def _unknown_fields(kind: Kind, schema: dict[str, Any], name: str) -> list[str]:
    """Parameters and words the sandbox would take and Stripe would not."""
    choices = schema.get("anyOf", [schema])
    if isinstance(kind, Either):
        return [each for one in kind.kinds for each in _unknown_fields(one, schema, name)]
    if isinstance(kind, Hash):
        known = next((each for each in choices if "properties" in each), None)
        if known is None:
            return [f"{name} is no hash"]
        absent = [f"{name}[{key}]" for key in kind.keys if key not in known["properties"]]
        optional = [f"{name}[{key}] may be left out" for key in known.get("required", []) if key not in kind.needs]
        return (
            absent
            + ([] if "enabled" in str(optional) else optional)
            + [
                each
                for key, below in kind.keys.items()
                if key in known["properties"]
                for each in _unknown_fields(below, known["properties"][key], f"{name}[{key}]")
            ]
        )
    if isinstance(kind, Many):
        listed = next((each for each in choices if each.get("type") == "array"), None)
        return [f"{name} is no list"] if listed is None else _unknown_fields(kind.of, listed["items"], f"{name}[]")
    if isinstance(kind, OneOf):
        words = {word for each in choices for word in each.get("enum", [])}
        return [f"{name}={word}" for word in kind.words if words and word not in words]
    return []


@pytest.mark.parametrize("route", PUBLISHED, ids=_name)
def test_every_call_takes_only_what_stripe_takes(route: Route) -> None:
    """A parameter that Stripe has removed (payment_method_types, coupon, …) is refused here too."""
    published = operation(route.method, route.path.replace("{}", "id"))
    assert published is not None, "Stripe has no such call"
    schema = request_schema(route.method, published)
    extra = {} if "expand" in schema["properties"] else {"expand": {}}
    properties = {**schema["properties"], **extra}
    assert set(route.spec.keys) <= set(properties)
    assert set(schema.get("required", [])) <= set(route.spec.needs)
    assert [each for key, kind in route.spec.keys.items() for each in _unknown_fields(kind, properties[key], key)] == []


async def test_the_guard_sees_a_strange_parameter_and_a_strange_property(box: Box) -> None:
    """Without this the guard could sleep through everything."""
    watch = Guard()
    watch.of_request("POST", "/v1/customers", [("email", "a@b.c"), ("metadata[k]", "v")])
    assert watch.problems == []
    watch.of_request("POST", "/v1/checkout/sessions", [("mode", "subscription"), ("payment_method_types[0]", "card")])
    assert "payment_method_types" in watch.problems.pop()
    watch.of_request("POST", "/v1/subscriptions/sub_1", [("billing_cycle_anchor", "now")])
    assert len(watch.problems) == 1
    watch.of_request("GET", "/v1/nonsense", [])
    assert len(watch.problems) == 2
    subscription = await box.subscribed()
    assert object_problems(subscription) == []
    assert object_problems({**subscription, "current_period_end": 1}) != []
    assert object_problems({**subscription, "status": "happy"}) != []
    assert object_problems({key: value for key, value in subscription.items() if key != "items"}) != []
    assert object_problems({**subscription, "items": {**subscription["items"], "data": [{}]}}) != []


async def test_the_guard_counts_requests(box: Box) -> None:
    before = box.watch.checked
    await box.customer()
    assert box.watch.checked == before + 2
    assert len(document()["paths"]) > 40


async def test_the_account_answers_although_the_subset_lacks_it(box: Box) -> None:
    account = await box.ok("GET", "/v1/account")
    assert (account["id"], account["object"]) == (box.sandbox.account_id, "account")
