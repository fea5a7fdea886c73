"""Checkout sessions in subscription mode, and what its page does: pay, fail, leave, let it expire."""

from __future__ import annotations

from gateway.sandbox.stripe import billing, customers, new_objects
from gateway.sandbox.stripe.account_state import DAY, AccountState
from gateway.sandbox.stripe.calls import Call, Json, Route, chosen
from gateway.sandbox.stripe.checkout_params import FILTERS, LINES, NEW_SESSION, UPDATE
from gateway.sandbox.stripe.ids import new_id
from gateway.sandbox.stripe.params import merged_metadata
from gateway.sandbox.stripe.refusal import declined, invalid, missing
from gateway.sandbox.stripe.render import in_time_range, page

_SHORTEST_SECONDS = 1800


def create(state: AccountState, call: Call) -> Json:
    """POST /v1/checkout/sessions."""
    params = call.params
    if params["mode"] != "subscription":
        raise invalid("The sandbox only knows mode `subscription`.", param="mode")
    if params.get("customer") and params.get("customer_email"):
        raise invalid("You may only specify one of these parameters: customer, customer_email.")
    if params.get("allow_promotion_codes") is not None and params.get("discounts"):
        raise invalid("You may only specify one of these parameters: allow_promotion_codes, discounts.")
    for position, discount in enumerate(params.get("discounts", [])):
        kind, object_id = next(iter(discount.items()), ("coupon", ""))
        raise missing(kind.replace("_", " "), object_id or "", param=f"discounts[{position}][{kind}]")
    customer = state.active_customer(params["customer"]) if params.get("customer") else None
    if params.get("automatic_tax", {}).get("enabled") and customer and not params.get("customer_update"):
        raise invalid(
            "Automatic tax calculation in Checkout requires a valid address on the Customer. Add a valid address to "
            "the Customer or set either `customer_update[address]` to 'auto' or `customer_update[shipping]` to 'auto' "
            "to save the address entered in Checkout to the Customer.",
            code="customer_tax_location_invalid",
        )
    lines = _line_items(state, params["line_items"])
    if customer and customer["currency"] not in (None, lines[0]["currency"]):
        raise invalid(
            "You cannot combine currencies on a single customer. This customer has had a subscription, coupon, or "
            f"invoice item with currency {customer['currency']}."
        )
    session = _session(state, params, customer, lines)
    return state.add(session)


def _line_items(state: AccountState, requested: list[Json]) -> list[Json]:
    lines: list[Json] = []
    for position, each in enumerate(requested):
        price = state.find("price", each["price"], param=f"line_items[{position}][price]")
        if not price["active"]:
            raise invalid(
                "The price specified is inactive. This field only accepts active prices.",
                param=f"line_items[{position}][price]",
            )
        metered = (price["recurring"] or {}).get("usage_type") == "metered"
        if not metered and "quantity" not in each:
            raise invalid(
                "Quantity is required. Add `quantity` to `line_items[" + str(position) + "]`",
                param=f"line_items[{position}][quantity]",
            )
        amount = price["unit_amount"] * each.get("quantity", 0)
        lines.append(
            {
                "id": new_id("li"),
                "object": "item",
                "amount_discount": 0,
                "amount_subtotal": amount,
                "amount_tax": 0,
                "amount_total": amount,
                "currency": price["currency"],
                "description": state.objects["product"][price["product"]]["name"],
                "metadata": {},
                "price": price["id"],
                "quantity": each.get("quantity"),
            }
        )
    if not any(state.objects["price"][line["price"]]["recurring"] for line in lines):
        raise invalid("You must provide at least one recurring price in `subscription` mode when using prices.")
    if len({line["currency"] for line in lines}) > 1:
        raise invalid("All prices on a Checkout Session must have the same currency.", param="line_items")
    return lines


def _expires_at(state: AccountState, params: Json, now: int) -> int:
    expires_at: int = params.get("expires_at", now + state.settings.session_seconds)
    if not _SHORTEST_SECONDS - 60 <= expires_at - now <= DAY + 60:
        raise invalid(
            "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation.",
            param="expires_at",
        )
    return expires_at


def _session(state: AccountState, params: Json, customer: Json | None, lines: list[Json]) -> Json:
    now = state.time()
    data = params.get("subscription_data", {})
    trial_days = data.get("trial_period_days")
    trial_end = now + trial_days * DAY if trial_days else data.get("trial_end")
    total = 0 if trial_end else sum(line["amount_total"] for line in lines)
    session_id = new_id("cs_test", 58)
    return {
        **new_objects.checkout_session(),
        "id": session_id,
        "adaptive_pricing": {"enabled": bool(params.get("adaptive_pricing", {}).get("enabled", False))},
        "allow_promotion_codes": params.get("allow_promotion_codes"),
        "amount_subtotal": total,
        "amount_total": total,
        "automatic_tax": {
            "enabled": bool(params.get("automatic_tax", {}).get("enabled", False)),
            "liability": None,
            "provider": None,
            "status": None,
        },
        "billing_address_collection": params.get("billing_address_collection"),
        "cancel_url": params.get("cancel_url"),
        "client_reference_id": params.get("client_reference_id"),
        "created": now,
        "currency": lines[0]["currency"],
        "customer": customer["id"] if customer else None,
        "customer_creation": None if customer else "always",
        "customer_details": _details(customer["email"]) if customer else None,
        "customer_email": params.get("customer_email"),
        "expires_at": _expires_at(state, params, now),
        "locale": params.get("locale"),
        "metadata": merged_metadata({}, params.get("metadata", {})),
        "payment_method_collection": params.get("payment_method_collection", "always"),
        "success_url": params["success_url"],
        "url": f"{state.public_url}/c/pay/{session_id}",
        "_line_items": lines,
        "_subscription_data": data,
        "_trial_end": trial_end,
        "_trial_days": trial_days,
    }


def _details(email: str | None) -> Json:
    return {
        "address": None,
        "business_name": None,
        "email": email,
        "individual_name": None,
        "name": None,
        "phone": None,
        "tax_exempt": "none",
        "tax_ids": None,
    }


def pay(state: AccountState, session: Json, *, card_works: bool = True, delayed: bool = False) -> Json:
    """What the Pay button does. A failing card raises ApiError 402 and leaves no subscription behind (basil).

    `delayed`: the payment is only under way, the session completes unpaid.
    """
    if session["status"] != "open":
        raise invalid(f"This Checkout Session has a status of `{session['status']}`.")
    if not card_works and not session["_trial_end"]:
        raise declined()
    email = session["customer_email"] or (session["customer_details"] or {}).get("email")
    if session["customer"] is None:
        session["customer"] = customers.make(state, {"email": email or "buyer@example.com"})["id"]
    customer = state.active_customer(session["customer"])
    without_card = session["_trial_end"] and session["payment_method_collection"] == "if_required"
    if not without_card:
        state.cards[customer["id"]] = "ok" if card_works else "fail"
    options = _subscription_options(state, session, delayed)
    recurring = [line for line in session["_line_items"] if state.objects["price"][line["price"]]["recurring"]]
    requested = [{"price": line["price"], "quantity": line["quantity"] or 0} for line in recurring]
    subscription = billing.start(state, customer["id"], requested, options)
    session.update(
        customer_details=_details(customer["email"] or email),
        invoice=subscription["latest_invoice"],
        payment_status="no_payment_required" if options["trial_end"] else "unpaid" if delayed else "paid",
        status="complete",
        subscription=subscription["id"],
        url=None,
    )
    state.emit("checkout.session.completed", session)
    return session


def _subscription_options(state: AccountState, session: Json, delayed: bool) -> Json:
    """The options of `billing.build` for what the session sells."""
    data = session["_subscription_data"]
    trial_end = session["_trial_end"]
    if session["_trial_days"]:
        trial_end = state.time() + session["_trial_days"] * DAY
    end_behavior = data.get("trial_settings", {}).get("end_behavior", {})
    return {
        "metadata": merged_metadata({}, data.get("metadata", {})),
        "description": data.get("description"),
        "trial_end": trial_end,
        "billing_mode": data.get("billing_mode", {}).get("type", "flexible"),
        "missing_payment_method": end_behavior.get("missing_payment_method", "create_invoice"),
        "processing": delayed,
    }


def end(state: AccountState, session: Json) -> None:
    """Expire it: it can no longer be paid."""
    session.update(status="expired", url=None)
    state.emit("checkout.session.expired", session)


def expire(state: AccountState, call: Call) -> Json:
    """POST /v1/checkout/sessions/{}/expire."""
    session = state.find("checkout.session", call.object_id)
    if session["status"] != "open":
        raise invalid(
            'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a status of '
            f"`{session['status']}`."
        )
    end(state, session)
    return session


def retrieve(state: AccountState, call: Call) -> Json:
    """GET /v1/checkout/sessions/{}."""
    return state.find("checkout.session", call.object_id)


def update(state: AccountState, call: Call) -> Json:
    """POST /v1/checkout/sessions/{}: metadata only."""
    session = state.find("checkout.session", call.object_id)
    if "metadata" in call.params:
        session["metadata"] = merged_metadata(session["metadata"], call.params["metadata"])
    return session


def list_all(state: AccountState, call: Call) -> Json:
    """GET /v1/checkout/sessions, newest first."""
    params = call.params
    if "customer" in params:
        state.find("customer", params["customer"], param="customer")
    found = [
        session
        for session in reversed(state.all("checkout.session"))
        if all(session[name] == value for name, value in chosen(params, "customer", "status", "subscription").items())
        and ("created" not in params or in_time_range(session["created"], params["created"]))
    ]
    return page(state, found, params, "/v1/checkout/sessions")


def list_line_items(state: AccountState, call: Call) -> Json:
    """GET /v1/checkout/sessions/{}/line_items."""
    session = state.find("checkout.session", call.object_id)
    return page(state, session["_line_items"], call.params, f"/v1/checkout/sessions/{session['id']}/line_items")


ROUTES = (
    Route("POST", "/v1/checkout/sessions", create, NEW_SESSION),
    Route("GET", "/v1/checkout/sessions", list_all, FILTERS),
    Route("GET", "/v1/checkout/sessions/{}", retrieve),
    Route("POST", "/v1/checkout/sessions/{}", update, UPDATE),
    Route("POST", "/v1/checkout/sessions/{}/expire", expire),
    Route("GET", "/v1/checkout/sessions/{}/line_items", list_line_items, LINES),
)
