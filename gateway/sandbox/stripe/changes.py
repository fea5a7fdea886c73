"""Changing what a subscription sells: items, proration, and what happens when the change must be paid and is not."""

from __future__ import annotations

import copy
from typing import Any

from gateway.sandbox.stripe import billing, invoicing, periods
from gateway.sandbox.stripe.account_state import AccountState
from gateway.sandbox.stripe.refusal import declined, invalid

Json = dict[str, Any]
_PENDING_SECONDS = 23 * 3600


def changed_items(state: AccountState, subscription: Json, requested: list[Json]) -> list[Json]:
    """The items as they would be. An entry without an `id` is one more item, not a change: Stripe's own trap."""
    items: list[Json] = copy.deepcopy(subscription["items"]["data"])
    now = state.time()
    for position, entry in enumerate(requested):
        if "price" in entry:
            _check_price(state, subscription, entry["price"], f"items[{position}][price]")
        if "id" not in entry:
            if "price" not in entry:
                raise invalid(
                    f"Missing required param: items[{position}][price].",
                    param=f"items[{position}][price]",
                    code="parameter_missing",
                )
            items.append(billing.new_item(state, subscription, entry, now))
            continue
        item = next((each for each in items if each["id"] == entry["id"]), None)
        if item is None:
            raise invalid(
                f"No such subscription_item: '{entry['id']}'", param=f"items[{position}][id]", code="resource_missing"
            )
        if entry.get("deleted"):
            items.remove(item)
            continue
        item.update({key: entry[key] for key in ("price", "quantity") if key in entry})
    if not items:
        raise invalid("A subscription must have at least one active plan.", param="items")
    if len({item["price"] for item in items}) < len(items):
        raise invalid(
            "Subscription Item can not be created or updated: price is already used by another Subscription Item.",
            param="items",
        )
    return items


def _check_price(state: AccountState, subscription: Json, price_id: str, param: str) -> None:
    price = state.find("price", price_id, param=param)
    if price["recurring"] is None:
        raise invalid("The price specified is set to `type=one_time` but this field only accepts recurring prices.")
    if price["currency"] != subscription["currency"]:
        raise invalid(f"The price specified is in {price['currency']}, the subscription is not.", param=param)
    if not price["active"]:
        raise invalid("The price specified is inactive. This field only accepts active prices.", param=param)


def prorated(state: AccountState, subscription: Json, items: list[Json], now: int) -> tuple[list[Json], bool]:
    """Proration lines from the items as they are to `items`, whose periods are reset where the interval changes.

    Second: whether any interval changed, which bills at once whatever the proration.
    """
    lines: list[Json] = []
    old_items = {item["id"]: item for item in subscription["items"]["data"]}
    reset = False
    for item in items:
        old = old_items.pop(item["id"], None)
        if old is None:
            lines.append(_share(state, item, item, now, 1))
        elif (old["price"], old.get("quantity")) != (item["price"], item.get("quantity")):
            lines.append(_share(state, old, old, now, -1))
            if _interval(state, old) != _interval(state, item):
                reset = True
                unit, count = _interval(state, item)
                end = periods.after(now, unit, count, 1)
                item.update(current_period_start=now, current_period_end=end, billed_until=end)
                lines.append(billing.period_line(state, item))
            else:
                lines.append(_share(state, item, old, now, 1))
    lines += [_share(state, old, old, now, -1) for old in old_items.values()]
    if subscription["status"] == "trialing":
        return [], False
    return lines, reset


def _interval(state: AccountState, item: Json) -> tuple[str, int]:
    recurring = state.objects["price"][item["price"]]["recurring"]
    return recurring["interval"], recurring["interval_count"]


def _share(state: AccountState, item: Json, period: Json, now: int, sign: int) -> Json:
    """The rest of a period, owed (+1) or given back (-1)."""
    start, end = period["current_period_start"], period["current_period_end"]
    whole = state.objects["price"][item["price"]]["unit_amount"] * item.get("quantity", 0)
    amount = round(whole * max(0, end - now) / max(1, end - start))
    note = "Remaining time on" if sign > 0 else "Unused time on"
    return invoicing.line(state, item, sign * amount, now, end, note=note)


def apply(
    state: AccountState,
    subscription: Json,
    requested: list[Json],
    *,
    proration: str,
    behavior: str = "allow_incomplete",
) -> None:
    """Put new items in force, prorate, bill at once if asked to, and treat a failed payment as `behavior` says.

    `behavior`: allow_incomplete (the change stands, past_due), error_if_incomplete (402, nothing changed),
    pending_if_incomplete (pending_update until paid). Call it inside `state.changing`.
    """
    now = state.time()
    items = changed_items(state, subscription, requested)
    lines, reset = prorated(state, subscription, items, now)
    if proration == "none":
        lines = [line for line in lines if not line["parent"]["subscription_item_details"]["proration"]]
    bills_now = bool(lines) and (reset or proration == "always_invoice")
    total = sum(line["amount"] for line in lines)
    fails = bills_now and total > 0 and not invoicing.card_pays(state, subscription["customer"])
    if fails and behavior == "error_if_incomplete":
        raise declined()
    if fails and behavior == "pending_if_incomplete":
        subscription["pending_update"] = {
            "billing_cycle_anchor": None,
            "expires_at": now + _PENDING_SECONDS,
            "subscription_items": items,
            "trial_end": None,
            "trial_from_plan": None,
        }
    else:
        subscription["items"]["data"] = items
        if reset:
            subscription["billing_cycle_anchor"] = now
    if bills_now:
        _bill(state, subscription, lines, behavior)
    else:
        subscription["_pending_lines"] += lines


def _bill(state: AccountState, subscription: Json, lines: list[Json], behavior: str) -> None:
    """Invoice these lines and the pending ones, and charge once."""
    lines = subscription["_pending_lines"] + lines
    subscription["_pending_lines"] = []
    invoice = invoicing.draft(state, subscription, "subscription_update", lines)
    invoicing.finalize(state, invoice)
    if invoicing.attempt(state, invoice):
        if subscription["status"] == "past_due":
            subscription["status"] = "active"  # Stripe checks the latest invoice only, even if older ones are open.
    elif behavior != "pending_if_incomplete":
        subscription["status"] = "past_due"


def forget_pending(state: AccountState, subscription: Json) -> None:
    """A pending update that was not paid in 23 hours is dropped and its invoice voided."""
    invoice = state.objects["invoice"][subscription["latest_invoice"]]
    if invoice["status"] == "open":
        invoicing.void(state, invoice)
    with state.emit_if_changed(subscription, billing.UPDATED):
        subscription["pending_update"] = None
    state.emit("customer.subscription.pending_update_expired", subscription)


def is_downgrade(state: AccountState, subscription: Json, price_id: str, conditions: list[str]) -> bool:
    """Whether the portal must wait for the period's end: a smaller amount, or a shorter interval."""
    item = subscription["items"]["data"][0]
    old, new = state.objects["price"][item["price"]], state.objects["price"][price_id]
    smaller = new["unit_amount"] < old["unit_amount"]
    shorter = _days(new) < _days(old)
    return ("decreasing_item_amount" in conditions and smaller) or ("shortening_interval" in conditions and shorter)


def _days(price: Json) -> int:
    return {"day": 1, "week": 7, "month": 30, "year": 365}[price["recurring"]["interval"]] * int(
        price["recurring"]["interval_count"]
    )
