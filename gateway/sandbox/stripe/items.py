"""Subscription items on their own: read and list; they change through their subscription."""

from __future__ import annotations

from gateway.sandbox.stripe.account_state import AccountState
from gateway.sandbox.stripe.calls import Call, Json, Route
from gateway.sandbox.stripe.params import PAGE, TEXT_KEPT, Spec
from gateway.sandbox.stripe.refusal import missing
from gateway.sandbox.stripe.render import page


def retrieve(state: AccountState, call: Call) -> Json:
    """GET /v1/subscription_items/{}."""
    for subscription in state.all("subscription"):
        for item in subscription["items"]["data"]:
            if item["id"] == call.object_id:
                found: Json = item
                return found
    raise missing("subscription_item", call.object_id)


def list_all(state: AccountState, call: Call) -> Json:
    """GET /v1/subscription_items of one subscription."""
    subscription = state.find("subscription", call.params["subscription"], param="subscription")
    return page(state, subscription["items"]["data"], call.params, "/v1/subscription_items")


ROUTES = (
    Route(
        "GET", "/v1/subscription_items", list_all, Spec({**PAGE, "subscription": TEXT_KEPT}, needs=("subscription",))
    ),
    Route("GET", "/v1/subscription_items/{}", retrieve),
)
