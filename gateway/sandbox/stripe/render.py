"""Answers of the API: `expand[]`, pages of lists, and how many objects a nested list shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.sandbox.stripe.account_state import AccountState
from gateway.sandbox.stripe.refusal import invalid, missing
from gateway.sandbox.stripe.snapshots import rendered

Json = dict[str, Any]
_DEEPEST = 4
# Fields with an id that can be expanded, with the type of the object, and the objects in which they cannot.
_POINTS_AT = {
    "customer": "customer",
    "subscription": "subscription",
    "latest_invoice": "invoice",
    "invoice": "invoice",
    "charge": "charge",
    "product": "product",
    "price": "price",
    "default_price": "price",
    "schedule": "subscription_schedule",
    "configuration": "billing_portal.configuration",
}
_PLAIN = {("subscription_item", "subscription"), ("billing_portal.session", "customer"), ("line_item", "invoice")}


def expanded(state: AccountState, answer: Json, paths: Iterable[str]) -> Json:
    """The answer with each path filled in; refuses what cannot be expanded, as Stripe does."""
    for path in paths:
        steps = path.split(".")
        if len(steps) > _DEEPEST:
            raise invalid(
                f"You cannot expand more than {_DEEPEST} levels of a property. Property: {path}", param="expand"
            )
        _expand(state, answer, steps, path)
    return answer


def _expand(state: AccountState, node: Any, steps: list[str], path: str) -> None:
    if isinstance(node, list):
        for item in node:
            _expand(state, item, steps, path)
        return
    if not steps or node is None:
        return
    step, rest = steps[0], steps[1:]
    if not isinstance(node, dict):
        raise _unexpandable(path)
    if step not in node:
        node[step] = _included(state, node, step, path)
    value = node[step]
    if isinstance(value, str) and step in _POINTS_AT and (node.get("object"), step) not in _PLAIN:
        target = state.objects[_POINTS_AT[step]].get(value)
        if target is None:
            raise missing(step, value, param="expand")
        node[step] = value = rendered(state, target)
    elif not rest and not (isinstance(value, dict) and "object" in value) and value is not None:
        raise _unexpandable(path)
    _expand(state, value, rest, path)


def _included(state: AccountState, node: Mapping[str, Any], step: str, path: str) -> Json:
    """Lists that an object only carries when asked to."""
    own, own_id = node.get("object"), node.get("id", "")
    if (own, step) == ("checkout.session", "line_items"):
        lines = state.objects["checkout.session"][own_id]["_line_items"]
        return whole_list(rendered(state, lines), f"/v1/checkout/sessions/{own_id}/line_items")
    if (own, step) == ("customer", "subscriptions"):
        current = [s for s in state.all("subscription") if s["customer"] == own_id and s["status"] != "canceled"]
        return whole_list(rendered(state, current[::-1]), f"/v1/customers/{own_id}/subscriptions")
    if (own, step) == ("charge", "refunds"):
        given_back = [r for r in reversed(state.all("refund")) if r["charge"] == own_id]
        return whole_list(rendered(state, given_back), f"/v1/charges/{own_id}/refunds")
    if (own, step) == ("invoice", "payments"):
        paid = [p for p in state.all("invoice_payment") if p["invoice"] == own_id]
        return whole_list(rendered(state, paid), f"/v1/invoice_payments?invoice={own_id}")
    raise _unexpandable(path)


def _unexpandable(path: str) -> Exception:
    return invalid(
        f"This property cannot be expanded ({path}). You may want to try expanding the parent.", param="expand"
    )


def whole_list(data: list[Json], url: str) -> Json:
    """A list object with everything in it."""
    return {"object": "list", "data": data, "has_more": False, "url": url}


def truncated(answer: Json, length: int | None) -> Json:
    """The answer with every list inside it cut to `length` objects, as Stripe cuts them to ten; None cuts nothing."""
    if length is not None:
        for value in answer["data"] if answer.get("object") == "list" else answer.values():
            _truncate(value, length)
    return answer


def _truncate(value: Any, length: int) -> None:
    if isinstance(value, list):
        for item in value:
            _truncate(item, length)
    elif isinstance(value, dict):
        if value.get("object") == "list" and len(value["data"]) > length:
            value.update(data=value["data"][:length], has_more=True)
        for item in value.values():
            _truncate(item, length)


def page(state: AccountState, newest_first: list[Json], params: Mapping[str, Any], url: str) -> Json:
    """One page of a list: `limit` (10), after or before a given id; `has_more` is about the caller's direction."""
    limit = params.get("limit", 10)
    ids = [obj["id"] for obj in newest_first]
    if "starting_after" in params:
        rest = newest_first[_position(ids, params["starting_after"], "starting_after") + 1 :]
        chosen = rest[:limit]
    elif "ending_before" in params:
        rest = newest_first[: _position(ids, params["ending_before"], "ending_before")]
        chosen = rest[-limit:]
    else:
        rest, chosen = newest_first, newest_first[:limit]
    return {
        "object": "list",
        "data": rendered(state, chosen),
        "has_more": len(rest) > len(chosen),
        "url": url,
    }


def _position(ids: list[str], object_id: str, param: str) -> int:
    if object_id not in ids:
        raise missing("object", object_id, param=param)
    return ids.index(object_id)


def in_time_range(moment: int | None, requested: Any) -> bool:
    """Whether an instant fits a `created`-like filter: a number, or bounds."""
    if moment is None:
        return False
    if isinstance(requested, int):
        return moment == requested
    tests = {"gt": moment.__gt__, "gte": moment.__ge__, "lt": moment.__lt__, "lte": moment.__le__}
    return all(tests[name](bound) for name, bound in requested.items())
