"""Payments that take days, such as a bank debit: the session completes unpaid, the money comes or bounces later."""

from __future__ import annotations

from gateway.sandbox.stripe import billing, checkout, invoicing
from gateway.sandbox.stripe.world import DAY, Json, World

_DAYS = 3


def pay(world: World, session: Json, *, bounces: bool) -> None:
    """Complete the session with `payment_status` unpaid; the subscription is active while the payment is under way."""
    checkout.pay(world, session, delayed=True)
    session["_settles_at"] = world.time() + _DAYS * DAY
    session["_bounces"] = bounces


def settle(world: World, session: Json) -> None:
    """The bank has answered. That a bounced first payment leaves the subscription past_due is from memory."""
    del session["_settles_at"]
    invoice = world.objects["invoice"][session["invoice"]]
    if invoice["status"] != "open":
        return
    if not session["_bounces"]:
        invoicing.settle_outside(world, invoice)
        billing.after_payment(world, invoice)
        session["payment_status"] = "paid"
        world.emit("checkout.session.async_payment_succeeded", session)
        return
    world.cards[session["customer"]] = "fail"
    world.emit("checkout.session.async_payment_failed", session)
    world.emit("invoice.payment_failed", invoice)
    subscription = world.objects["subscription"][session["subscription"]]
    if subscription["status"] == "active":
        with world.changing(subscription, billing.UPDATED):
            subscription["status"] = "past_due"
