"""Charges: made when an invoice is paid by card, refunded in part or in full, and warned of as fraud."""

from __future__ import annotations

from gateway.sandbox.stripe import new_objects
from gateway.sandbox.stripe.account_state import AccountState
from gateway.sandbox.stripe.calls import Call, Json, Route, chosen
from gateway.sandbox.stripe.ids import new_id
from gateway.sandbox.stripe.params import METADATA, PAGE, TEXT_KEPT, TIMES, OneOf, Spec, Whole
from gateway.sandbox.stripe.refusal import invalid
from gateway.sandbox.stripe.render import in_time_range, page

WARNING = "radar.early_fraud_warning"
_NOBODY = {
    "address": {"city": None, "country": None, "line1": None, "line2": None, "postal_code": None, "state": None},
    "email": None,
    "name": None,
    "phone": None,
    "tax_id": None,
}


def charged(state: AccountState, invoice: Json, payment_intent_id: str) -> Json:
    """The charge that has just paid an invoice. Since basil it does not name the invoice: its payments do."""
    return state.add(
        {
            **new_objects.charge(),
            "id": new_id("ch"),
            "amount": invoice["amount_paid"],
            "amount_captured": invoice["amount_paid"],
            "balance_transaction": new_id("txn"),
            "billing_details": {**_NOBODY, "email": invoice["customer_email"], "name": invoice["customer_name"]},
            "created": state.time(),
            "currency": invoice["currency"],
            "customer": invoice["customer"],
            "payment_intent": payment_intent_id,
            "payment_method": new_id("pm"),
            "receipt_url": f"{state.public_url}/receipts/{payment_intent_id}",
        }
    )


def newest_of(state: AccountState, subscription: Json) -> Json:
    """The charge that paid last for a subscription; ApiError where nothing was charged."""
    invoices = {
        invoice["id"]
        for invoice in state.all("invoice")
        if invoice["parent"]["subscription_details"]["subscription"] == subscription["id"]
    }
    paid_with = {
        payment["payment"]["payment_intent"]
        for payment in state.all("invoice_payment")
        if payment["invoice"] in invoices
    }
    own = [charge for charge in state.all("charge") if charge["payment_intent"] in paid_with]
    if not own:
        raise invalid(f"Nothing was ever charged for {subscription['id']}.", param="subscription")
    return own[-1]


def refund_charge(state: AccountState, charge: Json, amount: int | None, reason: str | None = None) -> Json:
    """Refund an amount, or all that is left. Events as Stripe sends them: the refund's, then the charge's."""
    left = charge["amount"] - charge["amount_refunded"]
    if left <= 0:
        raise invalid(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
    amount = left if amount is None else amount
    if amount > left:
        raise invalid(f"Refund amount is greater than unrefunded amount on charge (${left / 100:.2f})", param="amount")
    refund = state.add(
        {
            "id": new_id("re"),
            "object": "refund",
            "amount": amount,
            "balance_transaction": new_id("txn"),
            "charge": charge["id"],
            "created": state.time(),
            "currency": charge["currency"],
            "destination_details": {"type": "card"},
            "metadata": {},
            "payment_intent": charge["payment_intent"],
            "reason": reason,
            "receipt_number": None,
            "source_transfer_reversal": None,
            "status": "succeeded",
            "transfer_reversal": None,
        }
    )
    state.emit("refund.created", refund)
    with state.emit_if_changed(charge, "charge.refunded"):
        charge["amount_refunded"] += amount
        charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    if charge["refunded"]:
        mark_actioned(state, charge)
    return refund


def warn_of_fraud(state: AccountState, charge: Json) -> Json:
    """The issuer believes that the card's owner did not pay this."""
    warning = state.add(
        {
            "id": new_id("issfr"),
            "object": WARNING,
            "actionable": not charge["refunded"] and not charge["disputed"],
            "charge": charge["id"],
            "created": state.time(),
            "fraud_type": "unauthorized_use_of_card",
            "livemode": False,
            "payment_intent": charge["payment_intent"],
        }
    )
    state.emit(f"{WARNING}.created", warning)
    return warning


def mark_actioned(state: AccountState, charge: Json) -> None:
    """Its warnings ask for nothing any more: it was refunded in full, or is disputed."""
    for warning in state.all(WARNING):
        if warning["charge"] == charge["id"]:
            with state.emit_if_changed(warning, f"{WARNING}.updated"):
                warning["actionable"] = False


def create_refund(state: AccountState, call: Call) -> Json:
    """POST /v1/refunds."""
    params = call.params
    if "charge" in params:
        charge = state.find("charge", params["charge"], param="charge")
    elif "payment_intent" in params:
        found = [each for each in state.all("charge") if each["payment_intent"] == params["payment_intent"]]
        charge = found[0] if found else state.find("charge", params["payment_intent"], param="payment_intent")
    else:
        raise invalid("One of the following params should be provided for this request: payment_intent or charge.")
    return refund_charge(state, charge, params.get("amount"), params.get("reason"))


def retrieve(state: AccountState, call: Call) -> Json:
    """GET /v1/charges/{}."""
    return state.find("charge", call.object_id)


def list_all(state: AccountState, call: Call) -> Json:
    """GET /v1/charges, newest first."""
    params = call.params
    found = [
        charge
        for charge in reversed(state.all("charge"))
        if all(charge[name] == value for name, value in chosen(params, "customer", "payment_intent").items())
        and ("created" not in params or in_time_range(charge["created"], params["created"]))
    ]
    return page(state, found, params, "/v1/charges")


def retrieve_refund(state: AccountState, call: Call) -> Json:
    """GET /v1/refunds/{}."""
    return state.find("refund", call.object_id)


def retrieve_warning(state: AccountState, call: Call) -> Json:
    """GET /v1/radar/early_fraud_warnings/{}."""
    return state.find(WARNING, call.object_id)


def list_refunds(state: AccountState, call: Call) -> Json:
    """GET /v1/charges/{}/refunds, newest first."""
    charge = state.find("charge", call.object_id)
    found = [refund for refund in reversed(state.all("refund")) if refund["charge"] == charge["id"]]
    return page(state, found, call.params, f"/v1/charges/{charge['id']}/refunds")


def list_warnings(state: AccountState, call: Call) -> Json:
    """GET /v1/radar/early_fraud_warnings, newest first."""
    requested = chosen(call.params, "charge", "payment_intent").items()
    found = [each for each in reversed(state.all(WARNING)) if all(each[name] == value for name, value in requested)]
    return page(state, found, call.params, "/v1/radar/early_fraud_warnings")


_REFUND = {
    "amount": Whole(1, 99_999_999),
    "charge": TEXT_KEPT,
    "metadata": METADATA,
    "payment_intent": TEXT_KEPT,
    "reason": OneOf("duplicate", "fraudulent", "requested_by_customer"),
}
_FILTERS = {**PAGE, "created": TIMES, "customer": TEXT_KEPT, "payment_intent": TEXT_KEPT}
_OF_CHARGE = {**PAGE, "charge": TEXT_KEPT, "payment_intent": TEXT_KEPT}
ROUTES = (
    Route("GET", "/v1/charges", list_all, Spec(_FILTERS)),
    Route("GET", "/v1/charges/{}", retrieve),
    Route("GET", "/v1/charges/{}/refunds", list_refunds, Spec(PAGE)),
    Route("POST", "/v1/refunds", create_refund, Spec(_REFUND)),
    Route("GET", "/v1/refunds/{}", retrieve_refund),
    Route("GET", "/v1/radar/early_fraud_warnings", list_warnings, Spec(_OF_CHARGE)),
    Route("GET", "/v1/radar/early_fraud_warnings/{}", retrieve_warning),
)
