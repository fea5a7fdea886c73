"""Invoices over the API: read, list, preview, pay, void; and the payments made on them."""

from __future__ import annotations

import copy

from gateway.sandbox.stripe import billing, changes, invoicing
from gateway.sandbox.stripe.account_state import AccountState
from gateway.sandbox.stripe.calls import Call, Json, Route, chosen
from gateway.sandbox.stripe.ids import new_id
from gateway.sandbox.stripe.params import FLAG, PAGE, TEXT_KEPT, TIMES, WHOLE, Hash, Kind, Many, OneOf, Spec, Whole
from gateway.sandbox.stripe.refusal import declined, invalid
from gateway.sandbox.stripe.render import in_time_range, page


def retrieve(state: AccountState, call: Call) -> Json:
    """GET /v1/invoices/{}."""
    return state.find("invoice", call.object_id)


def list_all(state: AccountState, call: Call) -> Json:
    """GET /v1/invoices, newest first."""
    params = call.params
    if "customer" in params:
        state.find("customer", params["customer"], param="customer")
    found = [
        invoice
        for invoice in reversed(state.all("invoice"))
        if all(
            invoice[name] == value for name, value in chosen(params, "customer", "status", "collection_method").items()
        )
        and ("subscription" not in params or invoicing.subscription_of(invoice) == params["subscription"])
        and ("created" not in params or in_time_range(invoice["created"], params["created"]))
    ]
    return page(state, found, params, "/v1/invoices")


def list_lines(state: AccountState, call: Call) -> Json:
    """GET /v1/invoices/{}/lines."""
    invoice = state.find("invoice", call.object_id)
    return page(state, invoice["lines"]["data"], call.params, f"/v1/invoices/{invoice['id']}/lines")


def pay(state: AccountState, call: Call) -> Json:
    """POST /v1/invoices/{}/pay: with the customer's card, or `paid_out_of_band`."""
    invoice = state.find("invoice", call.object_id)
    if invoice["status"] == "paid":
        raise invalid("Invoice is already paid")
    if invoice["status"] not in ("open", "draft", "uncollectible"):
        raise invalid(f"This invoice has the status `{invoice['status']}` and cannot be paid.")
    if call.params.get("paid_out_of_band"):
        if invoice["status"] == "draft":
            invoicing.finalize(state, invoice)
        invoicing.settle_outside(state, invoice)
        billing.after_payment(state, invoice)
        return invoice
    if not billing.collect(state, invoice):
        raise declined()
    return invoice


def void(state: AccountState, call: Call) -> Json:
    """POST /v1/invoices/{}/void."""
    invoice = state.find("invoice", call.object_id)
    if invoice["status"] not in ("open", "uncollectible"):
        raise invalid(f"You can only void open or uncollectible invoices; this one is {invoice['status']}.")
    invoicing.void(state, invoice)
    return invoice


def mark_uncollectible(state: AccountState, call: Call) -> Json:
    """POST /v1/invoices/{}/mark_uncollectible."""
    invoice = state.find("invoice", call.object_id)
    if invoice["status"] != "open":
        raise invalid(f"You can only mark open invoices as uncollectible; this one is {invoice['status']}.")
    invoicing.give_up(state, invoice)
    return invoice


def preview(state: AccountState, call: Call) -> Json:
    """POST /v1/invoices/create_preview: what the next invoice of a subscription would be, changed or not."""
    params = call.params
    if "subscription" not in params:
        raise invalid("Missing required param: subscription.", param="subscription", code="parameter_missing")
    actual = state.find("subscription", params["subscription"], param="subscription")
    if actual["status"] in billing.OVER:
        raise invalid("No upcoming invoices for customer", code="invoice_upcoming_none")
    details = params.get("subscription_details", {})
    shadow = copy.deepcopy(actual)
    now = details.get("proration_date", state.time())
    lines: list[Json] = list(shadow["_pending_lines"])
    at_once = False
    if "items" in details:
        items = changes.changed_items(state, shadow, details["items"])
        prorations, reset = changes.prorated(state, shadow, items, now)
        at_once = reset or details.get("proration_behavior") == "always_invoice"
        if details.get("proration_behavior") != "none":
            lines += prorations
        shadow["items"]["data"] = items
    if not at_once:
        lines += [billing.period_line(state, item) for item in shadow["items"]["data"]]
    invoice = invoicing.built(state, shadow, "subscription_update" if at_once else "upcoming", copy.deepcopy(lines))
    invoice["id"] = new_id("upcoming_in")
    return invoice


def list_payments(state: AccountState, call: Call) -> Json:
    """GET /v1/invoice_payments."""
    params = call.params
    found = [
        payment
        for payment in reversed(state.all("invoice_payment"))
        if all(payment[name] == value for name, value in chosen(params, "invoice", "status").items())
        and params.get("payment", {}).items() <= payment["payment"].items()
    ]
    return page(state, found, params, "/v1/invoice_payments")


def retrieve_payment(state: AccountState, call: Call) -> Json:
    """GET /v1/invoice_payments/{}."""
    return state.find("invoice_payment", call.object_id)


_ITEM: dict[str, Kind] = {
    "deleted": FLAG,
    "id": TEXT_KEPT,
    "price": TEXT_KEPT,
    "quantity": Whole(0, 999_999),
}
_PREVIEW = {
    "customer": TEXT_KEPT,
    "subscription": TEXT_KEPT,
    "subscription_details": Hash(
        {
            "items": Many(Hash(_ITEM), most=20),
            "proration_behavior": OneOf("always_invoice", "create_prorations", "none"),
            "proration_date": WHOLE,
        }
    ),
}
_FILTERS = {
    **PAGE,
    "collection_method": OneOf("charge_automatically", "send_invoice"),
    "created": TIMES,
    "customer": TEXT_KEPT,
    "status": OneOf("draft", "open", "paid", "uncollectible", "void"),
    "subscription": TEXT_KEPT,
}
_PAYMENT_FILTERS = {
    **PAGE,
    "invoice": TEXT_KEPT,
    "payment": Hash({"payment_intent": TEXT_KEPT, "type": OneOf("payment_intent", "payment_record")}, needs=("type",)),
    "status": TEXT_KEPT,
}
ROUTES = (
    Route("GET", "/v1/invoices", list_all, Spec(_FILTERS)),
    Route("POST", "/v1/invoices/create_preview", preview, Spec(_PREVIEW)),
    Route("GET", "/v1/invoices/{}", retrieve),
    Route("GET", "/v1/invoices/{}/lines", list_lines, Spec(PAGE)),
    Route("POST", "/v1/invoices/{}/pay", pay, Spec({"off_session": FLAG, "paid_out_of_band": FLAG})),
    Route("POST", "/v1/invoices/{}/void", void),
    Route("POST", "/v1/invoices/{}/mark_uncollectible", mark_uncollectible),
    Route("GET", "/v1/invoice_payments", list_payments, Spec(_PAYMENT_FILTERS)),
    Route("GET", "/v1/invoice_payments/{}", retrieve_payment),
)
