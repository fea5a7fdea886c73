"""Events as API versions before 2025-03-31.basil rendered them, for readers that must still cope. Pure."""

from __future__ import annotations

import copy
from typing import Any

Json = dict[str, Any]
OLD_VERSION = "2024-06-20"
_BASIL = "2025-03-31"


def as_version(event: Json, version: str | None) -> Json:
    """The event with its object in the shape of `version` (dates compare as text; None is the newest)."""
    if version is None or version[:10] >= _BASIL:
        return {**event, "api_version": version or event["api_version"]}
    old = copy.deepcopy(event)
    old["api_version"] = version
    data = old["data"]
    shape = _SHAPES.get(data["object"].get("object"))
    if shape is not None:
        shape(data["object"])
        if "previous_attributes" in data:
            _previous(data["previous_attributes"])
    return old


def _subscription(subscription: Json) -> None:
    """Periods stand on the subscription; items have none; there is no flexible billing."""
    items = subscription["items"]["data"]
    subscription["current_period_start"] = min(item["current_period_start"] for item in items)
    subscription["current_period_end"] = min(item["current_period_end"] for item in items)
    for item in items:
        _item(item)
    for name in ("billing_mode", "billing_schedules", "status_details", "customer_account"):
        subscription.pop(name, None)
    subscription["discount"] = None
    subscription["plan"] = items[0]["plan"] if len(items) == 1 else None
    subscription["quantity"] = items[0].get("quantity", 1) if len(items) == 1 else None


def _item(item: Json) -> None:
    for name in ("current_period_start", "current_period_end", "billed_until"):
        item.pop(name, None)


def _previous(previous: Json) -> None:
    items = previous.get("items", {}).get("data") if isinstance(previous.get("items"), dict) else None
    if items:
        previous["current_period_start"] = min(item["current_period_start"] for item in items)
        previous["current_period_end"] = min(item["current_period_end"] for item in items)
        for item in items:
            _item(item)


def _invoice(invoice: Json) -> None:
    """The subscription, charge and payment intent stand at the top; lines carry price, type and proration."""
    details = invoice.pop("parent")["subscription_details"]
    invoice["subscription"] = details["subscription"]
    invoice["subscription_details"] = {"metadata": details["metadata"]}
    invoice["paid"] = invoice["status"] == "paid"
    invoice["paid_out_of_band"] = False
    invoice["charge"] = None
    invoice["payment_intent"] = None
    invoice["discount"] = None
    invoice["tax"] = None
    for line in invoice["lines"]["data"]:
        item = line.pop("parent")["subscription_item_details"]
        price = line.pop("pricing")["price_details"]
        line.update(
            price={"id": price["price"], "object": "price", "product": price["product"]},
            proration=item["proration"],
            subscription=item["subscription"],
            subscription_item=item["subscription_item"],
            type="subscription",
        )


def _session(session: Json) -> None:
    session["ui_mode"] = "hosted"


_SHAPES = {"subscription": _subscription, "invoice": _invoice, "checkout.session": _session}
