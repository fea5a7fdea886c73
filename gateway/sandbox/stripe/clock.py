"""What time alone brings, in the order it comes: drafts charged, periods renewed, trials, retries, ends, expiries."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from gateway.sandbox.stripe import billing, changes, checkout, delayed, invoicing, schedules
from gateway.sandbox.stripe.account_state import DAY, AccountState, Card

Json = dict[str, Any]
Due = tuple[int, int, Callable[[], Any]]
_TRIAL_WARNING_SECONDS = 3 * DAY
_MOST_STEPS = 100_000


def settle(state: AccountState) -> None:
    """Do everything that is due by now, each at its own instant. Idempotent."""
    until = state.time()
    if state.transition_at is not None or until < state.next_change_at:
        return
    for _ in range(_MOST_STEPS):
        due = min(_coming(state), default=None, key=lambda each: each[:2])
        if due is None or due[0] > until:
            state.next_change_at = math.inf if due is None else due[0]
            return
        state.transition_at = due[0]
        try:
            due[2]()
        finally:
            state.transition_at = None
    raise RuntimeError("the sandbox's clock does not come to rest")


def _coming(state: AccountState) -> Iterator[Due]:
    """Everything with its instant; at the same instant the lower rank comes first: an end precedes a renewal."""
    for session in state.all("checkout.session"):
        if session["status"] == "open":
            yield session["expires_at"], 0, partial(checkout.end, state, session)
        elif "_settles_at" in session:
            yield session["_settles_at"], 0, partial(delayed.settle, state, session)
    for schedule in state.all("subscription_schedule"):
        if schedule["status"] == "active":
            yield schedule["current_phase"]["end_date"], 1, partial(schedules.turn, state, schedule)
    for invoice in state.all("invoice"):
        yield from _of_invoice(state, invoice)
    for subscription in state.all("subscription"):
        if subscription["status"] not in billing.OVER:
            yield from _of_subscription(state, subscription)


def _of_invoice(state: AccountState, invoice: Json) -> Iterator[Due]:
    if invoice["status"] == "open" and invoice["due_date"] is not None and not invoice.get("_overdue"):
        yield invoice["due_date"], 4, partial(billing.overdue, state, invoice)
    if not invoice["auto_advance"]:
        return
    if invoice["status"] == "draft" and invoice["automatically_finalizes_at"] is not None:
        yield invoice["automatically_finalizes_at"], 4, partial(billing.advance, state, invoice)
    elif invoice["status"] == "open" and invoice["next_payment_attempt"] is not None:
        yield invoice["next_payment_attempt"], 4, partial(billing.collect, state, invoice)


def _of_subscription(state: AccountState, subscription: Json) -> Iterator[Due]:
    status = subscription["status"]
    if subscription["cancel_at"] is not None:
        yield subscription["cancel_at"], 2, partial(billing.cancel_now, state, subscription)
    if status == "incomplete":
        ends_at = subscription["created"] + state.settings.incomplete_seconds
        yield ends_at, 2, partial(billing.expire_incomplete, state, subscription)
    if subscription["pending_update"] is not None:
        yield subscription["pending_update"]["expires_at"], 2, partial(changes.forget_pending, state, subscription)
    pause = subscription["pause_collection"]
    if pause is not None and pause["resumes_at"] is not None:
        yield pause["resumes_at"], 2, partial(billing.collect_again, state, subscription)
    if status == "trialing":
        if not subscription.get("_warned"):
            yield subscription["trial_end"] - _TRIAL_WARNING_SECONDS, 3, partial(_warn, state, subscription)
        yield subscription["trial_end"], 3, partial(billing.end_trial, state, subscription)
    elif status in ("active", "past_due", "unpaid"):
        yield billing.period_end(subscription), 5, partial(billing.renew, state, subscription)


def _warn(state: AccountState, subscription: Json) -> None:
    subscription["_warned"] = True
    state.emit("customer.subscription.trial_will_end", subscription)


def renew_now(state: AccountState, subscription: Json, *, card: Card | None = None) -> Json | None:
    """For the demo: the next renewal at once, without the hour as a draft, with another card if one is named."""
    if card is not None:
        state.cards[subscription["customer"]] = card
    if subscription["status"] not in ("active", "trialing", "past_due"):
        return None
    return billing.renew(state, subscription, at_once=True)


def pay_open(state: AccountState, subscription: Json) -> Json | None:
    """For the demo: the subscription's newest open invoice is paid; None if there is none."""
    for invoice in reversed(state.all("invoice")):
        if invoicing.subscription_of(invoice) == subscription["id"] and invoice["status"] == "open":
            invoicing.settle_outside(state, invoice)
            billing.after_payment(state, invoice)
            return invoice
    return None
