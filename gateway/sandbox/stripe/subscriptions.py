"""Subscriptions over the API: create, read, list, change, cancel, pause, resume."""

from __future__ import annotations

from gateway.sandbox.stripe import billing, changes, invoicing
from gateway.sandbox.stripe.account_state import DAY, AccountState
from gateway.sandbox.stripe.calls import Call, Json, Route, chosen
from gateway.sandbox.stripe.params import (
    FLAG,
    METADATA,
    PAGE,
    TEXT,
    TEXT_KEPT,
    TIMES,
    WHOLE,
    Either,
    Hash,
    Kind,
    Many,
    OneOf,
    Spec,
    Whole,
    merged_metadata,
)
from gateway.sandbox.stripe.refusal import declined, invalid, missing
from gateway.sandbox.stripe.render import in_time_range, page

_STATUSES = ("active", "canceled", "incomplete", "incomplete_expired", "past_due", "paused", "trialing", "unpaid")


def create(state: AccountState, call: Call) -> Json:
    """POST /v1/subscriptions: needs a customer with a card, or a trial, or `payment_behavior=default_incomplete`."""
    params = call.params
    customer = state.active_customer(params["customer"])
    requested = [_priced(state, entry, position) for position, entry in enumerate(params["items"])]
    trial_end = params.get("trial_end")
    if "trial_period_days" in params:
        trial_end = state.time() + params["trial_period_days"] * DAY
    behavior = params.get("payment_behavior", "allow_incomplete")
    waits = behavior == "default_incomplete"
    sent = params.get("collection_method") == "send_invoice"
    _check_days(params, sent)
    if customer["id"] not in state.cards and not trial_end and not waits and not sent:
        raise invalid(
            "This customer has no attached payment source or default payment method. Please consider adding a default "
            "payment method.",
            code="resource_missing",
        )
    if behavior == "error_if_incomplete" and not trial_end and not invoicing.card_pays(state, customer["id"]):
        raise declined()
    end_behavior = params.get("trial_settings", {}).get("end_behavior", {})
    subscription = billing.start(
        state,
        customer["id"],
        requested,
        {
            "metadata": merged_metadata({}, params.get("metadata", {})),
            "description": params.get("description"),
            "trial_end": trial_end,
            "billing_mode": params.get("billing_mode", {}).get("type", "flexible"),
            "missing_payment_method": end_behavior.get("missing_payment_method", "create_invoice"),
            "unpaid": waits,
            **chosen(params, "collection_method", "days_until_due"),
        },
    )
    if params.get("cancel_at_period_end") or params.get("cancel_at"):
        _cancellation(state, subscription, params)
    return subscription


def _check_days(params: Json, sent: bool) -> None:
    if sent and "days_until_due" not in params:
        raise invalid("You must specify `days_until_due` when setting `collection_method` to `send_invoice`.")
    if not sent and "days_until_due" in params:
        raise invalid("You can only set `days_until_due` if `collection_method` is `send_invoice`.")


def _priced(state: AccountState, entry: Json, position: int) -> Json:
    param = f"items[{position}][price]"
    price = state.find("price", entry["price"], param=param)
    if price["recurring"] is None:
        raise invalid("The price specified is set to `type=one_time` but this field only accepts recurring prices.")
    if not price["active"]:
        raise invalid("The price specified is inactive. This field only accepts active prices.", param=param)
    return {**entry, "metadata": merged_metadata({}, entry.get("metadata", {}))}


def retrieve(state: AccountState, call: Call) -> Json:
    """GET /v1/subscriptions/{}."""
    return state.find("subscription", call.object_id)


def list_all(state: AccountState, call: Call) -> Json:
    """GET /v1/subscriptions, newest first. Without `status` the canceled ones are left out: a trap for reconcilers."""
    params = call.params
    if "customer" in params:
        customer = state.find("customer", params["customer"], param="customer")
        # What the real one does here is not documented, so each of the three can be had.
        if customer.get("deleted") and state.settings.deleted_customers_subscriptions == "missing":
            raise missing("customer", customer["id"])
        if customer.get("deleted") and state.settings.deleted_customers_subscriptions == "empty":
            return page(state, [], params, "/v1/subscriptions")
    status = params.get("status")
    found = [
        subscription
        for subscription in reversed(state.all("subscription"))
        if _has_status(subscription, status)
        and ("customer" not in params or subscription["customer"] == params["customer"])
        and ("price" not in params or any(i["price"] == params["price"] for i in subscription["items"]["data"]))
        and ("created" not in params or in_time_range(subscription["created"], params["created"]))
        and (
            "current_period_end" not in params
            or in_time_range(billing.period_end(subscription), params["current_period_end"])
        )
    ]
    return page(state, found, params, "/v1/subscriptions")


def _has_status(subscription: Json, requested: str | None) -> bool:
    if requested == "all":
        return True
    if requested is None:
        return bool(subscription["status"] not in billing.OVER)
    if requested == "ended":
        return bool(subscription["status"] in billing.OVER)
    return bool(subscription["status"] == requested)


def update(state: AccountState, call: Call) -> Json:
    """POST /v1/subscriptions/{}."""
    subscription = state.find("subscription", call.object_id)
    params = call.params
    if subscription["status"] == "canceled" and set(params) - {"metadata", "cancellation_details", "expand"}:
        raise invalid("A canceled subscription can only update its cancellation_details and metadata.")
    if subscription["schedule"] and {"cancel_at", "cancel_at_period_end"} & set(params):
        raise invalid(
            f"The subscription is managed by the subscription schedule `{subscription['schedule']}`, and updating any "
            "cancelation behavior directly is not allowed. Please update the schedule instead."
        )
    with state.emit_if_changed(subscription, billing.UPDATED):
        if "trial_end" in params:
            _move_trial(subscription, state.time() if params["trial_end"] == "now" else params["trial_end"])
        if "items" in params:
            changes.apply(
                state,
                subscription,
                params["items"],
                proration=params.get("proration_behavior", "create_prorations"),
                behavior=params.get("payment_behavior", "allow_incomplete"),
            )
        if "collection_method" in params:
            _check_days(params, params["collection_method"] == "send_invoice")
            subscription["days_until_due"] = params.get("days_until_due")
        subscription.update(chosen(params, "collection_method", "description", "pause_collection"))
        if subscription["pause_collection"] is not None:
            subscription["pause_collection"].setdefault("resumes_at", None)
        if "metadata" in params:
            subscription["metadata"] = merged_metadata(subscription["metadata"], params["metadata"])
    if params.get("trial_end") == "now":
        billing.end_trial(state, subscription)
    _cancellation(state, subscription, params)
    return subscription


def _move_trial(subscription: Json, trial_end: int) -> None:
    subscription.update(
        status="trialing",
        trial_end=trial_end,
        trial_start=subscription["trial_start"] or subscription["created"],
        billing_cycle_anchor=trial_end,
    )
    for item in subscription["items"]["data"]:
        item.update(current_period_end=trial_end, billed_until=trial_end)


def _cancellation(state: AccountState, subscription: Json, params: Json) -> None:
    """Both ways to set its end; `cancel_at` may be a keyword that is resolved to a timestamp at once."""
    ends = [item["current_period_end"] for item in subscription["items"]["data"]]
    at = params.get("cancel_at")
    if at in ("min_period_end", "max_period_end"):
        at = min(ends) if at == "min_period_end" else max(ends)
    if params.get("cancel_at_period_end"):
        billing.cancel_later(state, subscription, min(ends), flag=True, feedback=params.get("cancellation_details"))
    elif at is not None:
        if at <= state.time():
            raise invalid("cancel_at must be in the future.", param="cancel_at")
        billing.cancel_later(state, subscription, at, flag=False, feedback=params.get("cancellation_details"))
    elif params.get("cancel_at_period_end") is False or ("cancel_at" in params and at is None):
        billing.keep(state, subscription)


def cancel(state: AccountState, call: Call) -> Json:
    """DELETE /v1/subscriptions/{}: at once. A second time it is not found, as with Stripe."""
    subscription = state.find("subscription", call.object_id)
    if subscription["status"] in billing.OVER:
        raise missing("subscription", subscription["id"])
    subscription["cancellation_details"].update(call.params.get("cancellation_details", {}))
    billing.cancel_now(state, subscription)
    return subscription


def pause(state: AccountState, call: Call) -> Json:
    """POST /v1/subscriptions/{}/pause (endive): status `paused`, refused while a schedule manages it."""
    subscription = state.find("subscription", call.object_id)
    if subscription["schedule"]:
        raise invalid("You cannot pause a subscription that is managed by a subscription schedule.")
    if subscription["status"] not in ("active", "trialing", "past_due"):
        raise invalid(f"You cannot pause a subscription with status `{subscription['status']}`.")
    billing.pause(state, subscription, "pause_requested")
    return subscription


def resume(state: AccountState, call: Call) -> Json:
    """POST /v1/subscriptions/{}/resume: active again; with the default anchor `now` a new period is billed at once."""
    subscription = state.find("subscription", call.object_id)
    if subscription["status"] != "paused":
        raise invalid("You can only resume a subscription with status `paused`.")
    now = state.time()
    resets = call.params.get("billing_cycle_anchor", {"type": "now"})["type"] == "now"
    must_pay = call.params.get("payment_behavior") == "resume_on_payment_success"
    if must_pay and resets and not invoicing.card_pays(state, subscription["customer"]):
        raise declined()
    with state.emit_if_changed(subscription, billing.UPDATED):
        subscription.update(status="active", status_details=None)
        if resets:
            subscription["billing_cycle_anchor"] = now
            for item in subscription["items"]["data"]:
                item["current_period_end"] = now
    state.emit("customer.subscription.resumed", subscription)
    if resets:
        billing.renew(state, subscription, at_once=True)
    return subscription


_DETAILS = Hash(
    {
        "comment": TEXT,
        "feedback": OneOf(
            "",
            "customer_service",
            "low_quality",
            "missing_features",
            "other",
            "switched_service",
            "too_complex",
            "too_expensive",
            "unused",
        ),
    }
)
_BEHAVIORS = OneOf("allow_incomplete", "default_incomplete", "error_if_incomplete", "pending_if_incomplete")
_CANCEL_AT = Either(WHOLE, OneOf("", "max_period_end", "min_period_end"))
_NEW_ITEM: dict[str, Kind] = {"metadata": METADATA, "price": TEXT_KEPT, "quantity": Whole(0, 999_999)}
_TRIAL_SETTINGS = Hash(
    {
        "end_behavior": Hash(
            {"missing_payment_method": OneOf("cancel", "create_invoice", "pause")}, needs=("missing_payment_method",)
        )
    },
    needs=("end_behavior",),
)
_PRORATION = OneOf("always_invoice", "create_prorations", "none")
_COLLECTION = OneOf("charge_automatically", "send_invoice")
_CREATE = {
    "billing_mode": Hash({"type": OneOf("classic", "flexible")}, needs=("type",)),
    "cancel_at": Either(WHOLE, OneOf("max_period_end", "min_period_end")),
    "cancel_at_period_end": FLAG,
    "collection_method": _COLLECTION,
    "customer": TEXT_KEPT,
    "days_until_due": Whole(0, 3650),
    "description": TEXT,
    "items": Many(Hash(_NEW_ITEM, needs=("price",)), most=20),
    "metadata": METADATA,
    "off_session": FLAG,
    "payment_behavior": _BEHAVIORS,
    "proration_behavior": _PRORATION,
    "trial_end": WHOLE,
    "trial_period_days": Whole(1, 730),
    "trial_settings": _TRIAL_SETTINGS,
}
_UPDATE = {
    "cancel_at": _CANCEL_AT,
    "cancel_at_period_end": FLAG,
    "cancellation_details": _DETAILS,
    "collection_method": _COLLECTION,
    "days_until_due": Whole(0, 3650),
    "description": TEXT,
    "items": Many(Hash({**_NEW_ITEM, "id": TEXT_KEPT, "deleted": FLAG}), most=20),
    "metadata": METADATA,
    "off_session": FLAG,
    "pause_collection": Hash(
        {"behavior": OneOf("keep_as_draft", "mark_uncollectible", "void"), "resumes_at": WHOLE},
        needs=("behavior",),
        unset=True,
    ),
    "payment_behavior": _BEHAVIORS,
    "proration_behavior": _PRORATION,
    "proration_date": WHOLE,
    "trial_end": Either(WHOLE, OneOf("now")),
}
_FILTERS = {
    **PAGE,
    "created": TIMES,
    "current_period_end": TIMES,
    "customer": TEXT_KEPT,
    "price": TEXT_KEPT,
    "status": OneOf(*_STATUSES, "all", "ended"),
}
_ANCHOR = Hash({"type": OneOf("now", "unchanged")}, needs=("type",))
_RESUME = {
    "billing_cycle_anchor": _ANCHOR,
    "payment_behavior": OneOf("resume_on_payment_attempt", "resume_on_payment_success"),
    "proration_behavior": _PRORATION,
}
ROUTES = (
    Route("POST", "/v1/subscriptions", create, Spec(_CREATE, needs=("customer", "items"))),
    Route("GET", "/v1/subscriptions", list_all, Spec(_FILTERS)),
    Route("GET", "/v1/subscriptions/{}", retrieve),
    Route("POST", "/v1/subscriptions/{}", update, Spec(_UPDATE)),
    Route(
        "DELETE",
        "/v1/subscriptions/{}",
        cancel,
        Spec({"cancellation_details": _DETAILS, "invoice_now": FLAG, "prorate": FLAG}),
    ),
    Route("POST", "/v1/subscriptions/{}/pause", pause, Spec({"type": OneOf("subscription")})),
    Route("POST", "/v1/subscriptions/{}/resume", resume, Spec(_RESUME)),
)
