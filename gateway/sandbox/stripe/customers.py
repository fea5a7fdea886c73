"""Customers: create, read, change, list, delete."""

from __future__ import annotations

from gateway.sandbox.stripe.account_state import AccountState
from gateway.sandbox.stripe.billing import cancel_now
from gateway.sandbox.stripe.calls import Call, Json, Route, chosen
from gateway.sandbox.stripe.ids import new_id
from gateway.sandbox.stripe.params import ADDRESS, METADATA, PAGE, TEXT, TIMES, Hash, Kind, Many, OneOf, Spec, Whole
from gateway.sandbox.stripe.params import merged_metadata as merged
from gateway.sandbox.stripe.refusal import invalid
from gateway.sandbox.stripe.render import in_time_range, page

_PLAIN_FIELDS = ("address", "balance", "description", "email", "name", "phone", "preferred_locales", "shipping")


_WRITABLE: dict[str, Kind] = {
    "address": ADDRESS,
    "balance": Whole(),
    "description": TEXT,
    "email": TEXT,
    "invoice_settings": Hash({"default_payment_method": TEXT, "footer": TEXT}),
    "metadata": METADATA,
    "name": TEXT,
    "phone": TEXT,
    "preferred_locales": Many(TEXT),
    "shipping": Hash({"address": ADDRESS, "name": TEXT, "phone": TEXT}, needs=("address", "name"), unset=True),
    "tax_exempt": OneOf("", "exempt", "none", "reverse"),
}


def make(state: AccountState, params: Json) -> Json:
    """Add a customer and emit its event."""
    customer_id = new_id("cus", 14)
    customer: Json = {
        "id": customer_id,
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": state.time(),
        "currency": None,
        "customer_account": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "email": None,
        "invoice_prefix": customer_id[-8:].upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }
    _write(customer, params)
    state.add(customer)
    state.emit("customer.created", customer)
    return customer


def _write(customer: Json, params: Json) -> None:
    email = params.get("email")
    if email is not None and ("@" not in email or " " in email):
        raise invalid(f"Invalid email address: {email}", param="email", code="email_invalid")
    customer.update(chosen(params, *_PLAIN_FIELDS))
    if "tax_exempt" in params:
        customer["tax_exempt"] = params["tax_exempt"] or "none"
    customer["invoice_settings"].update(params.get("invoice_settings", {}))
    if "metadata" in params:
        customer["metadata"] = merged(customer["metadata"], params["metadata"])


def create(state: AccountState, call: Call) -> Json:
    """POST /v1/customers."""
    return make(state, call.params)


def retrieve(state: AccountState, call: Call) -> Json:
    """GET: a deleted customer answers 200 with `deleted: true`."""
    return state.find("customer", call.object_id)


def update(state: AccountState, call: Call) -> Json:
    """POST /v1/customers/{}."""
    customer = state.active_customer(call.object_id, param=None)
    with state.emit_if_changed(customer, "customer.updated"):
        _write(customer, call.params)
    return customer


def delete(state: AccountState, call: Call) -> Json:
    """DELETE: the customer's subscriptions are canceled at once."""
    customer = state.active_customer(call.object_id, param=None)
    for subscription in state.all("subscription"):
        if subscription["customer"] == customer["id"]:
            cancel_now(state, subscription)
    state.emit("customer.deleted", customer)
    gone: Json = {"id": customer["id"], "object": "customer", "deleted": True}
    state.cards.pop(customer["id"], None)
    return state.add(gone)


def list_all(state: AccountState, call: Call) -> Json:
    """GET /v1/customers, newest first; `email` is compared with its case."""
    params = call.params
    found = [
        customer
        for customer in reversed(state.all("customer"))
        if not customer.get("deleted")
        and ("email" not in params or customer["email"] == params["email"])
        and ("created" not in params or in_time_range(customer["created"], params["created"]))
    ]
    return page(state, found, params, "/v1/customers")


def list_subscriptions(state: AccountState, call: Call) -> Json:
    """GET /v1/customers/{}/subscriptions, newest first: the canceled ones are left out."""
    own_id = state.active_customer(call.object_id, param=None)["id"]
    current = [s for s in reversed(state.all("subscription")) if s["customer"] == own_id and s["status"] != "canceled"]
    return page(state, current, call.params, f"/v1/customers/{own_id}/subscriptions")


ROUTES = (
    Route("POST", "/v1/customers", create, Spec(_WRITABLE)),
    Route("GET", "/v1/customers", list_all, Spec({**PAGE, "email": TEXT, "created": TIMES})),
    Route("GET", "/v1/customers/{}", retrieve),
    Route("POST", "/v1/customers/{}", update, Spec(_WRITABLE)),
    Route("DELETE", "/v1/customers/{}", delete),
    Route("GET", "/v1/customers/{}/subscriptions", list_subscriptions, Spec(PAGE)),
)
