"""What belongs to the account: itself, its webhook endpoints, its events, its customers' entitlements."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gateway.sandbox.stripe.account_state import DAY, VERSION, AccountState
from gateway.sandbox.stripe.calls import Call, Json, Route
from gateway.sandbox.stripe.ids import new_id
from gateway.sandbox.stripe.old_api_version import as_version
from gateway.sandbox.stripe.params import (
    FLAG,
    METADATA,
    PAGE,
    TEXT,
    TEXT_KEPT,
    TIMES,
    URL,
    Many,
    Spec,
    Whole,
    merged_metadata,
)
from gateway.sandbox.stripe.refusal import invalid, missing
from gateway.sandbox.stripe.render import in_time_range, page, whole_list
from gateway.sandbox.stripe.snapshots import rendered

_MOST_ENDPOINTS = 16
_EVENTS_KEPT_SECONDS = 30 * DAY


def retrieve(state: AccountState, call: Call) -> Json:
    """GET /v1/account."""
    return {
        "id": state.account_id,
        "object": "account",
        "business_profile": {"name": "Sandbox", "url": None},
        "business_type": None,
        "charges_enabled": True,
        "country": "US",
        "created": 1_700_000_000,
        "default_currency": "usd",
        "details_submitted": True,
        "email": "owner@example.com",
        "metadata": {},
        "payouts_enabled": True,
        "settings": {"dashboard": {"display_name": "Sandbox", "timezone": "Etc/UTC"}},
        "type": "standard",
    }


def make_endpoint(state: AccountState, params: Json, secret: str | None = None) -> Json:
    """Add a webhook endpoint; its version and secret never change, and it gets no event of its own creation."""
    if len(state.objects["webhook_endpoint"]) >= _MOST_ENDPOINTS:
        raise invalid(f"You have reached the maximum of {_MOST_ENDPOINTS} test webhook endpoints.")
    return state.add(
        {
            "id": new_id("we"),
            "object": "webhook_endpoint",
            "api_version": params.get("api_version"),
            "application": None,
            "created": state.time(),
            "description": params.get("description"),
            "enabled_events": params["enabled_events"],
            "livemode": False,
            "metadata": merged_metadata({}, params.get("metadata", {})),
            "status": "enabled",
            "url": params["url"],
            "_secret": secret or new_id("whsec", 32),
        }
    )


def make_destination(state: AccountState, url: str, enabled_events: list[str]) -> Json:
    """A v2 destination for thin events: it is listed, and that is all."""
    at = datetime.fromtimestamp(state.time(), UTC).isoformat()
    return state.add(
        {
            "id": new_id("ed"),
            "object": "v2.core.event_destination",
            "created": at,
            "description": "",
            "enabled_events": enabled_events,
            "event_payload": "thin",
            "events_from": ["@self"],
            "livemode": False,
            "metadata": {},
            "name": "thin",
            "snapshot_api_version": None,
            "status": "enabled",
            "status_details": None,
            "type": "webhook_endpoint",
            "updated": at,
            "webhook_endpoint": {"signing_secret": None, "url": url},
        }
    )


def list_destinations(state: AccountState, call: Call) -> Json:
    """GET /v2/core/event_destinations; with the URL only if requested."""
    shown = "webhook_endpoint.url" in call.params.get("include", [])
    hidden = {} if shown else {"webhook_endpoint": {"signing_secret": None, "url": None}}
    found = [{**each, **hidden} for each in reversed(state.all("v2.core.event_destination"))]
    return {"data": found[: call.params.get("limit", 10)], "next_page_url": None, "previous_page_url": None}


def create_endpoint(state: AccountState, call: Call) -> Json:
    """POST /v1/webhook_endpoints: the only answer that shows the secret."""
    if not call.params["enabled_events"]:
        raise invalid("You must enable at least one event.", param="enabled_events")
    version = call.params.get("api_version")
    if version is not None and not VERSION.fullmatch(version):
        raise invalid(f"Invalid API version: {version}", param="api_version")
    endpoint = make_endpoint(state, call.params)
    answer: Json = rendered(state, endpoint)
    answer["secret"] = endpoint["_secret"]
    return answer


def retrieve_endpoint(state: AccountState, call: Call) -> Json:
    """GET /v1/webhook_endpoints/{}."""
    return state.find("webhook_endpoint", call.object_id)


def update_endpoint(state: AccountState, call: Call) -> Json:
    """POST /v1/webhook_endpoints/{}."""
    endpoint = state.find("webhook_endpoint", call.object_id)
    for name in ("description", "enabled_events", "url"):
        endpoint[name] = call.params.get(name, endpoint[name])
    if "disabled" in call.params:
        endpoint["status"] = "disabled" if call.params["disabled"] else "enabled"
    if "metadata" in call.params:
        endpoint["metadata"] = merged_metadata(endpoint["metadata"], call.params["metadata"])
    return endpoint


def delete_endpoint(state: AccountState, call: Call) -> Json:
    """DELETE /v1/webhook_endpoints/{}."""
    endpoint = state.find("webhook_endpoint", call.object_id)
    del state.objects["webhook_endpoint"][endpoint["id"]]
    return {"id": endpoint["id"], "object": "webhook_endpoint", "deleted": True}


def list_endpoints(state: AccountState, call: Call) -> Json:
    """GET /v1/webhook_endpoints, newest first."""
    return page(state, state.all("webhook_endpoint")[::-1], call.params, "/v1/webhook_endpoints")


def shown_event(event: Json) -> Json:
    """An event in the version of its creation, whatever version the reader asks for."""
    return as_version(event, event["api_version"])


def retrieve_event(state: AccountState, call: Call) -> Json:
    """GET /v1/events/{}: kept for 30 days."""
    event = state.find("event", call.object_id)
    if event["created"] < state.time() - _EVENTS_KEPT_SECONDS:
        raise missing("event", event["id"])
    return shown_event(event)


def list_events(state: AccountState, call: Call) -> Json:
    """GET /v1/events: newest first, of the last 30 days."""
    params = call.params
    oldest = state.time() - _EVENTS_KEPT_SECONDS
    if len(params.get("types", [])) > 0 and "type" in params:
        raise invalid("You may only specify one of these parameters: type, types.")
    found = [
        event
        for event in reversed(state.all("event"))
        if event["created"] >= oldest
        and ("created" not in params or in_time_range(event["created"], params["created"]))
        and _of_types(event["type"], params)
        and ("delivery_success" not in params or (event["pending_webhooks"] == 0) == params["delivery_success"])
    ]
    listed = page(state, found, params, "/v1/events")
    listed["data"] = [shown_event(event) for event in listed["data"]]
    return listed


def _of_types(event_type: str, params: Json) -> bool:
    requested: list[Any] = params.get("types") or ([params["type"]] if "type" in params else [])
    return not requested or any(
        event_type == each or (each.endswith(".*") and event_type.startswith(each[:-1])) for each in requested
    )


def list_entitlements(state: AccountState, call: Call) -> Json:
    """GET /v1/entitlements/active_entitlements: the sandbox attaches no features, so the list is empty."""
    state.active_customer(call.params["customer"])
    return whole_list([], "/v1/entitlements/active_entitlements")


_ENDPOINT = {
    "description": TEXT,
    "enabled_events": Many(TEXT_KEPT),
    "metadata": METADATA,
    "url": URL,
}
_EVENT_FILTERS = {
    **PAGE,
    "created": TIMES,
    "delivery_success": FLAG,
    "type": TEXT_KEPT,
    "types": Many(TEXT_KEPT, most=20),
}
ROUTES = (
    Route("GET", "/v1/account", retrieve),
    Route(
        "POST",
        "/v1/webhook_endpoints",
        create_endpoint,
        Spec({**_ENDPOINT, "api_version": TEXT_KEPT}, needs=("enabled_events", "url")),
    ),
    Route("GET", "/v1/webhook_endpoints", list_endpoints, Spec(PAGE)),
    Route("GET", "/v1/webhook_endpoints/{}", retrieve_endpoint),
    Route("POST", "/v1/webhook_endpoints/{}", update_endpoint, Spec({**_ENDPOINT, "disabled": FLAG})),
    Route("DELETE", "/v1/webhook_endpoints/{}", delete_endpoint),
    Route(
        "GET",
        "/v2/core/event_destinations",
        list_destinations,
        Spec({"include": Many(TEXT_KEPT), "limit": Whole(1, 100)}),
    ),
    Route("GET", "/v1/events", list_events, Spec(_EVENT_FILTERS)),
    Route("GET", "/v1/events/{}", retrieve_event),
    Route(
        "GET",
        "/v1/entitlements/active_entitlements",
        list_entitlements,
        Spec({**PAGE, "customer": TEXT_KEPT}, needs=("customer",)),
    ),
)
