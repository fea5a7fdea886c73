"""Subscription schedules: as the portal makes them for a change at the period's end; read, list, release, cancel."""

from __future__ import annotations

from gateway.sandbox.stripe import billing, new_objects, periods
from gateway.sandbox.stripe.account_state import AccountState
from gateway.sandbox.stripe.calls import Call, Json, Route
from gateway.sandbox.stripe.ids import new_id
from gateway.sandbox.stripe.params import FLAG, PAGE, TEXT_KEPT, Spec
from gateway.sandbox.stripe.refusal import invalid
from gateway.sandbox.stripe.render import page


def change_at_period_end(state: AccountState, subscription: Json, price_id: str) -> Json:
    """Two phases: as it is until the period's end, then the other price for one period, then released."""
    now = state.time()
    item = subscription["items"]["data"][0]
    switch_at = item["current_period_end"]
    recurring = state.objects["price"][price_id]["recurring"]
    ends_at = periods.after(switch_at, recurring["interval"], recurring["interval_count"], 1)
    quantity = item.get("quantity", 1)
    schedule: Json = {
        **new_objects.schedule(),
        "id": new_id("sub_sched"),
        "billing_mode": dict(subscription["billing_mode"]),
        "created": now,
        "current_phase": {"start_date": item["current_period_start"], "end_date": switch_at},
        "customer": subscription["customer"],
        "phases": [
            _phase(subscription, item["price"], quantity, item["current_period_start"], switch_at),
            _phase(subscription, price_id, quantity, switch_at, ends_at),
        ],
        "subscription": subscription["id"],
    }
    state.add(schedule)
    state.emit("subscription_schedule.created", schedule)
    with state.emit_if_changed(subscription, billing.UPDATED):
        subscription["schedule"] = schedule["id"]
    return schedule


def _phase(subscription: Json, price_id: str, quantity: int, start_at: int, end_at: int) -> Json:
    return {
        "add_invoice_items": [],
        "application_fee_percent": None,
        "billing_cycle_anchor": None,
        "billing_thresholds": None,
        "collection_method": None,
        "currency": subscription["currency"],
        "default_payment_method": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "end_date": end_at,
        "invoice_settings": None,
        "items": [
            {
                "billing_thresholds": None,
                "discounts": [],
                "metadata": {},
                "plan": price_id,
                "price": price_id,
                "quantity": quantity,
                "tax_rates": [],
            }
        ],
        "metadata": {},
        "on_behalf_of": None,
        "proration_behavior": "none",
        "start_date": start_at,
        "transfer_data": None,
        "trial_end": None,
    }


def turn(state: AccountState, schedule: Json) -> None:
    """The current phase is over: put the next one in force (its renewal bills the new price), or release."""
    ended_at = schedule["current_phase"]["end_date"]
    following = next((phase for phase in schedule["phases"] if phase["start_date"] == ended_at), None)
    if following is None:
        release_schedule(state, schedule)
        return
    subscription = state.objects["subscription"][schedule["subscription"]]
    with state.emit_if_changed(schedule, "subscription_schedule.updated"):
        schedule["current_phase"] = {"start_date": following["start_date"], "end_date": following["end_date"]}
    with state.emit_if_changed(subscription, billing.UPDATED):
        item = subscription["items"]["data"][0]
        item["price"] = following["items"][0]["price"]


def release_schedule(state: AccountState, schedule: Json) -> None:
    """Release: the subscription stays as it is, without a schedule."""
    subscription = state.objects["subscription"][schedule["subscription"]]
    schedule.update(
        status="released",
        released_at=state.time(),
        released_subscription=subscription["id"],
        subscription=None,
        current_phase=None,
    )
    with state.emit_if_changed(subscription, billing.UPDATED):
        subscription["schedule"] = None
    state.emit("subscription_schedule.released", schedule)


def retrieve(state: AccountState, call: Call) -> Json:
    """GET /v1/subscription_schedules/{}."""
    return state.find("subscription_schedule", call.object_id)


def release(state: AccountState, call: Call) -> Json:
    """POST /v1/subscription_schedules/{}/release."""
    schedule = _live(state, call.object_id)
    release_schedule(state, schedule)
    return schedule


def cancel(state: AccountState, call: Call) -> Json:
    """POST /v1/subscription_schedules/{}/cancel: cancels the subscription with it, at once."""
    schedule = _live(state, call.object_id)
    billing.cancel_now(state, state.objects["subscription"][schedule["subscription"]])
    return schedule


def _live(state: AccountState, schedule_id: str) -> Json:
    schedule = state.find("subscription_schedule", schedule_id)
    if schedule["status"] != "active":
        raise invalid(
            f"You cannot change a subscription schedule that is currently in the `{schedule['status']}` status."
        )
    return schedule


def list_all(state: AccountState, call: Call) -> Json:
    """GET /v1/subscription_schedules, newest first."""
    customer_id = call.params.get("customer")
    found = [
        schedule
        for schedule in reversed(state.all("subscription_schedule"))
        if customer_id is None or schedule["customer"] == customer_id
    ]
    return page(state, found, call.params, "/v1/subscription_schedules")


ROUTES = (
    Route("GET", "/v1/subscription_schedules", list_all, Spec({**PAGE, "customer": TEXT_KEPT})),
    Route("GET", "/v1/subscription_schedules/{}", retrieve),
    Route("POST", "/v1/subscription_schedules/{}/release", release, Spec({"preserve_cancel_date": FLAG})),
    Route("POST", "/v1/subscription_schedules/{}/cancel", cancel, Spec({"invoice_now": FLAG, "prorate": FLAG})),
)
