"""What happens to a subscription: it starts, is billed, renews, fails, recovers, pauses, ends."""

from __future__ import annotations

from typing import Any

from gateway.sandbox.stripe import invoicing, new_objects, periods
from gateway.sandbox.stripe.account_state import AccountState
from gateway.sandbox.stripe.ids import new_id
from gateway.sandbox.stripe.render import whole_list

Json = dict[str, Any]
OVER = ("canceled", "incomplete_expired")
UPDATED = "customer.subscription.updated"


def new_item(state: AccountState, subscription: Json, requested: Json, now: int, end_at: int | None = None) -> Json:
    """A subscription item for `{price, quantity, metadata}`; its first period ends at `end_at` or by its price."""
    price = state.objects["price"][requested["price"]]
    recurring = price["recurring"]
    anchor = subscription["billing_cycle_anchor"]
    end = end_at or periods.end_after(anchor, recurring["interval"], recurring["interval_count"], now)
    item: Json = {
        "id": new_id("si", 14),
        "object": "subscription_item",
        "billed_until": end,
        "billing_thresholds": None,
        "created": now,
        "current_period_end": end,
        "current_period_start": now,
        "discounts": [],
        "metadata": requested.get("metadata") or {},
        "price": price["id"],
        "quantity": requested.get("quantity", 1),
        "subscription": subscription["id"],
        "tax_rates": [],
    }
    if recurring["usage_type"] == "metered":
        del item["quantity"]
    return item


def build(state: AccountState, customer_id: str, requested: list[Json], options: Json) -> Json:
    """A new subscription, not stored yet. `options`: metadata, trial_end, billing_mode, trial_settings, …"""
    now = state.time()
    trial_end = options.get("trial_end")
    payment_method = new_id("pm") if customer_id in state.cards else None
    subscription_id = new_id("sub")
    subscription: Json = {
        **new_objects.subscription(),
        "id": subscription_id,
        "billing_cycle_anchor": trial_end or now,
        "billing_mode": {
            "type": options.get("billing_mode", "flexible"),
            "flexible": {"proration_discounts": "included"}
            if options.get("billing_mode", "flexible") == "flexible"
            else None,
        },
        "collection_method": options.get("collection_method", "charge_automatically"),
        "created": now,
        "currency": state.objects["price"][requested[0]["price"]]["currency"],
        "customer": customer_id,
        "days_until_due": options.get("days_until_due"),
        "default_payment_method": payment_method,
        "description": options.get("description"),
        "metadata": options.get("metadata") or {},
        "start_date": now,
        "trial_end": trial_end,
        "trial_settings": {
            "end_behavior": {"missing_payment_method": options.get("missing_payment_method", "create_invoice")}
        },
        "trial_start": now if trial_end else None,
    }
    items = [new_item(state, subscription, each, now, trial_end) for each in requested]
    subscription["items"] = whole_list(items, f"/v1/subscription_items?subscription={subscription_id}")
    return subscription


def start(state: AccountState, customer_id: str, requested: list[Json], options: Json) -> Json:
    """Create and bill: a trial with an invoice of 0, else charged at once.

    With option `unpaid` nothing is charged (incomplete); with `processing` the payment is under way (active). An
    invoice that is sent is not charged, and the subscription is active.
    """
    subscription = state.add(build(state, customer_id, requested, options))
    state.objects["customer"][customer_id]["currency"] = subscription["currency"]
    trialing = subscription["trial_end"] is not None
    old_api_version = not state.event_version.startswith("2026")
    sent = subscription["collection_method"] == "send_invoice"
    charged = not options.get("unpaid") and not options.get("processing") and not sent
    granted = options.get("processing") or sent or (charged and invoicing.card_pays(state, customer_id))
    if trialing:
        subscription["status"] = "trialing"
    elif granted and not old_api_version:
        # Since basil a paid first invoice precedes the subscription; before, it was born incomplete and then updated.
        subscription["status"] = "active"
    state.emit("customer.subscription.created", subscription)
    with state.emit_if_changed(subscription, UPDATED):
        lines = [period_line(state, item, free=trialing) for item in subscription["items"]["data"]]
        invoice = invoicing.draft(state, subscription, "subscription_create", lines)
        invoicing.finalize(state, invoice)
        if trialing or charged:
            invoicing.attempt(state, invoice)
        if granted and not trialing:
            subscription["status"] = "active"
    return subscription


def period_line(state: AccountState, item: Json, *, free: bool = False) -> Json:
    """The line that bills an item for its current period."""
    unit = state.objects["price"][item["price"]]["unit_amount"]
    amount = 0 if free else unit * item.get("quantity", 0)
    return invoicing.line(state, item, amount, item["current_period_start"], item["current_period_end"])


def renew(state: AccountState, subscription: Json, *, at_once: bool = False) -> Json | None:
    """Begin the next period of the items that are due and draft their invoice; `at_once` also charges it.

    `at_once` renews the next period even before its time.
    """
    now = state.time()
    items = subscription["items"]["data"]
    due_at = min(item["current_period_end"] for item in items) if at_once else now
    lines: list[Json] = []
    with state.emit_if_changed(subscription, UPDATED):
        if subscription["status"] == "trialing":
            subscription["status"] = "active"
        for item in items:
            if item["current_period_end"] <= due_at:
                _next_period(state, subscription, item)
                lines.append(period_line(state, item))
        lines += subscription["_pending_lines"]
        subscription["_pending_lines"] = []
        invoice = invoicing.draft(state, subscription, "subscription_cycle", lines)
    _hold_back(state, subscription, invoice)
    if at_once and invoice["auto_advance"] and invoice["status"] == "draft":
        advance(state, invoice)
    return invoice


def _next_period(state: AccountState, subscription: Json, item: Json) -> None:
    recurring = state.objects["price"][item["price"]]["recurring"]
    start = item["current_period_end"]
    anchor = subscription["billing_cycle_anchor"]
    end = periods.end_after(anchor, recurring["interval"], recurring["interval_count"], start)
    item.update(current_period_start=start, current_period_end=end, billed_until=end)


def _hold_back(state: AccountState, subscription: Json, invoice: Json) -> None:
    """What pause_collection and `unpaid` do to a fresh renewal invoice."""
    pause = subscription["pause_collection"]
    if pause is None and subscription["status"] != "unpaid":
        return
    behavior = pause["behavior"] if pause else "keep_as_draft"
    if behavior == "keep_as_draft":
        invoicing.stop_collecting(state, invoice)
        return
    invoicing.finalize(state, invoice)
    (invoicing.void if behavior == "void" else invoicing.give_up)(state, invoice)


def advance(state: AccountState, invoice: Json) -> None:
    """What time brings to an invoice: sent, or charged."""
    if invoice["collection_method"] == "charge_automatically" or invoice["amount_due"] == 0:
        collect(state, invoice)
    elif invoice["status"] == "draft":
        invoicing.finalize(state, invoice)


def overdue(state: AccountState, invoice: Json) -> None:
    """An invoice that was sent has not been paid when it was due."""
    invoice["_overdue"] = True
    state.emit("invoice.overdue", invoice)
    subscription = state.objects["subscription"][invoicing.subscription_of(invoice)]
    if subscription["latest_invoice"] == invoice["id"] and subscription["status"] == "active":
        with state.emit_if_changed(subscription, UPDATED):
            subscription["status"] = "past_due"


def collect(state: AccountState, invoice: Json) -> bool:
    """Finalize a draft if it is one, charge it, and let its subscription feel the outcome."""
    if invoice["status"] == "draft":
        invoicing.finalize(state, invoice)
    paid = invoicing.attempt(state, invoice)
    (after_payment if paid else _after_failure)(state, invoice)
    return paid


def after_payment(state: AccountState, invoice: Json) -> None:
    """A paid latest invoice brings its subscription back; a paid pending update comes into force."""
    subscription = state.objects["subscription"][invoicing.subscription_of(invoice)]
    if subscription["latest_invoice"] != invoice["id"]:
        return
    pending = subscription["pending_update"]
    with state.emit_if_changed(subscription, UPDATED):
        if subscription["status"] in ("past_due", "unpaid", "incomplete"):
            subscription["status"] = "active"
        if pending is not None:
            subscription["items"]["data"] = pending["subscription_items"]
            subscription["pending_update"] = None
    if pending is not None:
        state.emit("customer.subscription.pending_update_applied", subscription)


def _after_failure(state: AccountState, invoice: Json) -> None:
    subscription = state.objects["subscription"][invoicing.subscription_of(invoice)]
    if subscription["status"] not in ("active", "past_due"):
        return
    if invoice["next_payment_attempt"] is not None:
        with state.emit_if_changed(subscription, UPDATED):
            subscription["status"] = "past_due"
        return
    _dunning_over(state, subscription, invoice)


def _dunning_over(state: AccountState, subscription: Json, invoice: Json) -> None:
    outcome = state.settings.after_dunning
    if outcome == "cancel":
        cancel_now(state, subscription, reason="payment_failed")
    elif outcome == "pause":
        pause(state, subscription, "final_payment_failure")
    else:
        with state.emit_if_changed(subscription, UPDATED):
            subscription["status"] = outcome
    if invoice["status"] == "open":
        invoicing.stop_collecting(state, invoice)


def pause(state: AccountState, subscription: Json, why: str) -> None:
    """Status `paused`: nothing is provided and nothing billed until it is resumed."""
    with state.emit_if_changed(subscription, UPDATED):
        subscription["status"] = "paused"
        subscription["status_details"] = {
            "paused": {"type": "subscription", "subscription": {"type": why}, "transitioned_at": state.time()}
        }
    state.emit("customer.subscription.paused", subscription)


def cancel_now(state: AccountState, subscription: Json, reason: str = "cancellation_requested") -> None:
    """End it for good, once. Its open invoices stay but are no longer collected; its schedule is canceled."""
    if subscription["status"] in OVER:
        return
    now = state.time()
    for invoice in state.all("invoice"):
        if invoicing.subscription_of(invoice) == subscription["id"] and invoice["status"] in ("open", "draft"):
            invoicing.stop_collecting(state, invoice)
    subscription.update(
        status="canceled", canceled_at=subscription["canceled_at"] or now, ended_at=now, pending_update=None
    )
    if subscription["cancellation_details"]["reason"] is None or reason != "cancellation_requested":
        subscription["cancellation_details"]["reason"] = reason
    schedule = state.objects["subscription_schedule"].get(subscription["schedule"] or "")
    if schedule is not None and schedule["status"] == "active":
        schedule.update(status="canceled", canceled_at=now, current_phase=None)
        state.emit("subscription_schedule.canceled", schedule)
    state.emit("customer.subscription.deleted", subscription)


def cancel_later(state: AccountState, subscription: Json, at: int, *, flag: bool, feedback: Json | None = None) -> None:
    """Let it run until `at`; `flag` says whether cancel_at_period_end shows it too (never in the flexible portal)."""
    with state.emit_if_changed(subscription, UPDATED):
        subscription.update(cancel_at=at, cancel_at_period_end=flag, canceled_at=state.time())
        subscription["cancellation_details"] = {
            "comment": None,
            "feedback": None,
            **(feedback or {}),
            "reason": "cancellation_requested",
        }


def keep(state: AccountState, subscription: Json) -> None:
    """Take a later cancellation back."""
    with state.emit_if_changed(subscription, UPDATED):
        subscription.update(cancel_at=None, cancel_at_period_end=False, canceled_at=None)
        subscription["cancellation_details"] = {"comment": None, "feedback": None, "reason": None}


def period_end(subscription: Json) -> int:
    """The earliest end among the items' periods."""
    return int(min(item["current_period_end"] for item in subscription["items"]["data"]))


def end_trial(state: AccountState, subscription: Json) -> None:
    """With a card, or `create_invoice`: active and billed; else canceled or paused, as the trial's settings say."""
    behavior = subscription["trial_settings"]["end_behavior"]["missing_payment_method"]
    if subscription["customer"] in state.cards or behavior == "create_invoice":
        renew(state, subscription)
    elif behavior == "cancel":
        cancel_now(state, subscription)
    else:
        pause(state, subscription, "trial_end_without_payment_method")


def expire_incomplete(state: AccountState, subscription: Json) -> None:
    """The first invoice was not paid in 23 hours: over for good, the invoice void."""
    invoice = state.objects["invoice"][subscription["latest_invoice"]]
    if invoice["status"] == "open":
        invoicing.void(state, invoice)
    with state.emit_if_changed(subscription, UPDATED):
        subscription.update(status="incomplete_expired", ended_at=state.time())


def collect_again(state: AccountState, subscription: Json) -> None:
    """pause_collection ran to its `resumes_at`."""
    with state.emit_if_changed(subscription, UPDATED):
        subscription["pause_collection"] = None
