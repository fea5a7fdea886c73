"""Payments that take days, such as a bank debit: the session completes unpaid, the money comes or bounces later."""

from __future__ import annotations

from gateway.sandbox.stripe import billing, checkout, invoicing
from gateway.sandbox.stripe.account_state import DAY, AccountState, Json

_DAYS = 3


def pay(state: AccountState, session: Json, *, bounces: bool) -> None:
    """Complete the session with `payment_status` unpaid; the subscription is active while the payment is under way."""
    checkout.pay(state, session, delayed=True)
    session["_settles_at"] = state.time() + _DAYS * DAY
    session["_bounces"] = bounces


def settle(state: AccountState, session: Json) -> None:
    """The bank has answered. That a bounced first payment leaves the subscription past_due is from memory."""
    del session["_settles_at"]
    invoice = state.objects["invoice"][session["invoice"]]
    if invoice["status"] != "open":
        return
    if not session["_bounces"]:
        invoicing.settle_outside(state, invoice)
        billing.after_payment(state, invoice)
        session["payment_status"] = "paid"
        state.emit("checkout.session.async_payment_succeeded", session)
        return
    state.cards[session["customer"]] = "fail"
    state.emit("checkout.session.async_payment_failed", session)
    state.emit("invoice.payment_failed", invoice)
    subscription = state.objects["subscription"][session["subscription"]]
    if subscription["status"] == "active":
        with state.emit_if_changed(subscription, billing.UPDATED):
            subscription["status"] = "past_due"
