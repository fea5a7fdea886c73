"""An invoice's life: draft, finalized, attempted, paid or failed, voided; and the lines it is made of."""

from __future__ import annotations

from typing import Any

from gateway.sandbox.stripe import charges, new_objects
from gateway.sandbox.stripe.account_state import DAY, AccountState
from gateway.sandbox.stripe.ids import new_id
from gateway.sandbox.stripe.render import whole_list

Json = dict[str, Any]


def line(
    state: AccountState,
    item: Json,
    amount: int,
    start_at: int,
    end_at: int,
    *,
    price_id: str | None = None,
    note: str = "",
) -> Json:
    """One line for a subscription item; with a `note` it is a proration."""
    price = state.objects["price"][price_id or item["price"]]
    product = state.objects["product"][price["product"]]
    quantity = item.get("quantity") or 1
    return {
        **new_objects.invoice_line(),
        "id": new_id("il"),
        "amount": amount,
        "currency": price["currency"],
        "description": f"{note} {product['name']}".strip() if note else f"{quantity} of {product['name']}",
        "discountable": not note,
        "parent": {
            "type": "subscription_item_details",
            "invoice_item_details": None,
            "subscription_item_details": _item_details(item, is_proration=bool(note)),
        },
        "period": {"start": start_at, "end": end_at},
        "pricing": {
            "type": "price_details",
            "price_details": {"price": price["id"], "product": price["product"]},
            "unit_amount_decimal": price["unit_amount_decimal"],
        },
        "quantity": quantity,
        "subtotal": amount,
    }


def _item_details(item: Json, *, is_proration: bool) -> Json:
    return {
        "invoice_item": None,
        "proration": is_proration,
        "proration_details": {"credited_items": None},
        "subscription": item["subscription"],
        "subscription_item": item["id"],
    }


def built(state: AccountState, subscription: Json, reason: str, lines: list[Json]) -> Json:
    """A new draft, not stored yet and without events."""
    invoice_id = new_id("in")
    now = state.time()
    customer = state.objects["customer"][subscription["customer"]]
    for each in lines:
        each["invoice"] = invoice_id
    total = sum(each["amount"] for each in lines)
    balance = customer.get("balance", 0)
    due = max(0, total + balance)
    return {
        **new_objects.invoice(),
        "id": invoice_id,
        "amount_due": due,
        "amount_remaining": due,
        "automatically_finalizes_at": now + state.settings.draft_seconds,
        "billing_reason": reason,
        "collection_method": subscription["collection_method"],
        "created": now,
        "currency": subscription["currency"],
        **_customer_fields(customer),
        "lines": whole_list(lines, f"/v1/invoices/{invoice_id}/lines"),
        "parent": {
            "type": "subscription_details",
            "quote_details": None,
            "subscription_details": {
                "metadata": dict(subscription["metadata"]),
                "subscription": subscription["id"],
            },
        },
        "period_end": now,
        "period_start": now,
        "starting_balance": balance,
        "subtotal": total,
        "subtotal_excluding_tax": total,
        "total": total,
        "total_excluding_tax": total,
    }


def _customer_fields(customer: Json) -> Json:
    return {
        "customer": customer["id"],
        "customer_address": customer.get("address"),
        "customer_email": customer.get("email"),
        "customer_name": customer.get("name"),
        "customer_phone": customer.get("phone"),
        "customer_shipping": customer.get("shipping"),
        "customer_tax_exempt": customer.get("tax_exempt", "none"),
    }


def draft(state: AccountState, subscription: Json, reason: str, lines: list[Json]) -> Json:
    """A new draft invoice of the subscription, announced; it becomes the subscription's latest."""
    invoice = state.add(built(state, subscription, reason, lines))
    subscription["latest_invoice"] = invoice["id"]
    state.emit("invoice.created", invoice)
    return invoice


def finalize(state: AccountState, invoice: Json) -> None:
    """Open it: numbered, no longer changeable, payable at its hosted page; the customer's balance is used up."""
    customer = state.objects["customer"][invoice["customer"]]
    now = state.time()
    ending = invoice["starting_balance"] + invoice["total"] - invoice["amount_due"]
    number = customer.get("next_invoice_sequence", 1)
    if not customer.get("deleted"):
        customer["next_invoice_sequence"] = number + 1
        with state.emit_if_changed(customer, "customer.updated"):
            customer["balance"] = ending
    invoice.update(
        automatically_finalizes_at=None,
        effective_at=now,
        ending_balance=ending,
        hosted_invoice_url=f"{state.public_url}/i/{invoice['id']}",
        number=f"{customer.get('invoice_prefix', 'DELETED')}-{number:04d}",
        status="open",
    )
    invoice["status_transitions"]["finalized_at"] = now
    days = state.objects["subscription"][subscription_of(invoice)]["days_until_due"]
    if invoice["collection_method"] == "send_invoice":
        invoice["due_date"] = now + (days or 0) * DAY
    state.emit("invoice.finalized", invoice)


def card_pays(state: AccountState, customer_id: str) -> bool:
    """Whether charging this customer's card would work; no card does not."""
    return state.cards.get(customer_id) == "ok"


def attempt(state: AccountState, invoice: Json) -> bool:
    """Charge once. On failure the next attempt is set by the dunning calendar, or to None after the last."""
    with state.emit_if_changed(invoice, "invoice.updated"):
        if invoice["amount_due"] > 0:
            invoice["attempt_count"] += 1
        invoice["attempted"] = True
        if invoice["amount_due"] == 0 or card_pays(state, invoice["customer"]):
            _set_paid(state, invoice)
        else:
            days = state.settings.dunning_days
            tried = invoice["attempt_count"] - 1
            more = invoice["billing_reason"] != "subscription_create" and tried < len(days)
            invoice["next_payment_attempt"] = state.time() + days[tried] * DAY if more else None
    if invoice["status"] == "paid":
        _announce_paid(state, invoice)
        return True
    state.emit("invoice.payment_failed", invoice)
    if state.cards.get(invoice["customer"]) == "action":
        state.emit("invoice.payment_action_required", invoice)
    return False


def settle_outside(state: AccountState, invoice: Json) -> None:
    """Pay by other means than the card (an operator's button, `paid_out_of_band`)."""
    with state.emit_if_changed(invoice, "invoice.updated"):
        invoice["attempted"] = True
        _set_paid(state, invoice)
    _announce_paid(state, invoice)


def _set_paid(state: AccountState, invoice: Json) -> None:
    invoice.update(amount_paid=invoice["amount_due"], amount_remaining=0, next_payment_attempt=None, status="paid")
    invoice["status_transitions"]["paid_at"] = state.time()


def _announce_paid(state: AccountState, invoice: Json) -> None:
    now = state.time()
    if invoice["amount_paid"] > 0:
        payment_intent_id = new_id("pi")
        charges.charged(state, invoice, payment_intent_id)
        payment: Json = {
            "id": new_id("inpay"),
            "object": "invoice_payment",
            "amount_paid": invoice["amount_paid"],
            "amount_requested": invoice["amount_due"],
            "created": now,
            "currency": invoice["currency"],
            "invoice": invoice["id"],
            "is_default": True,
            "livemode": False,
            "payment": {"type": "payment_intent", "payment_intent": payment_intent_id},
            "status": "paid",
            "status_transitions": {"canceled_at": None, "paid_at": now},
        }
        state.add(payment)
        state.emit("invoice_payment.paid", payment)
    state.emit("invoice.paid", invoice)
    state.emit("invoice.payment_succeeded", invoice)


def void(state: AccountState, invoice: Json) -> None:
    """Void it: it is no longer owed."""
    with state.emit_if_changed(invoice, "invoice.updated"):
        invoice.update(status="void", amount_remaining=0, auto_advance=False, next_payment_attempt=None)
        invoice["status_transitions"]["voided_at"] = state.time()
    state.emit("invoice.voided", invoice)


def give_up(state: AccountState, invoice: Json) -> None:
    """Mark it uncollectible: still owed, but not collected."""
    with state.emit_if_changed(invoice, "invoice.updated"):
        invoice.update(status="uncollectible", auto_advance=False, next_payment_attempt=None)
        invoice["status_transitions"]["marked_uncollectible_at"] = state.time()
    state.emit("invoice.marked_uncollectible", invoice)


def stop_collecting(state: AccountState, invoice: Json) -> None:
    """Keep it open or draft, but stop trying."""
    with state.emit_if_changed(invoice, "invoice.updated"):
        invoice.update(auto_advance=False, next_payment_attempt=None, automatically_finalizes_at=None)


def subscription_of(invoice: Json) -> str:
    """The id of the subscription an invoice bills."""
    return str(invoice["parent"]["subscription_details"]["subscription"])
