"""Copies of objects as the API shows them, and what differs between two of them."""

from __future__ import annotations

from typing import Any, Protocol

Json = dict[str, Any]


class Account(Protocol):
    """Where the prices are found that subscription items name."""

    objects: dict[str, dict[str, Json]]


def rendered(account: Account, value: Any) -> Any:
    """A deep copy as Stripe would answer it, nothing expanded."""
    if isinstance(value, list):
        return [rendered(account, item) for item in value]
    if not isinstance(value, dict):
        return value
    own = value.get("object")
    out: Json = {}
    for key, item in value.items():
        if key == "metadata":
            out[key] = item if item is None else dict(item)
        elif own is None or not key.startswith("_"):
            # Most values are scalars; a call for each of them costs more than all the rest.
            out[key] = rendered(account, item) if isinstance(item, (dict, list)) else item
    if own in ("subscription_item", "item") and isinstance(out.get("price"), str):
        price = account.objects["price"][out["price"]]
        out["price"] = rendered(account, price)
        if own == "subscription_item":
            out["plan"] = _plan(price)
    return out


def _plan(price: Json) -> Json:
    """The plan that every recurring price still carries on subscription items."""
    recurring = price["recurring"]
    return {
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": price["billing_scheme"],
        "created": price["created"],
        "currency": price["currency"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "livemode": False,
        "metadata": dict(price["metadata"]),
        "meter": None,
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": None,
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": recurring["usage_type"],
    }


def changed_from(before: Json, after: Json) -> Json:
    """What `previous_attributes` holds: former values of what changed; hashes by key, lists whole."""
    previous: Json = {}
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict) and old.get("object") in (None, "list"):
            previous[key] = changed_from(old, new)
        else:
            previous[key] = old
    return previous
