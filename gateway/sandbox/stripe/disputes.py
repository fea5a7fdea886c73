"""Disputes: a bank takes a charge's money back, or only asks about it; and what comes of it."""

from __future__ import annotations

from gateway.sandbox.stripe import charges, new_objects
from gateway.sandbox.stripe.account_state import DAY, AccountState
from gateway.sandbox.stripe.calls import Call, Json, Route, chosen
from gateway.sandbox.stripe.ids import new_id
from gateway.sandbox.stripe.params import PAGE, TEXT_KEPT, TIMES, Spec
from gateway.sandbox.stripe.refusal import invalid
from gateway.sandbox.stripe.render import in_time_range, page

INQUIRY = ("warning_needs_response", "warning_under_review", "warning_closed")
CLOSED = ("won", "lost", "warning_closed", "prevented")
STATUSES = (
    *INQUIRY,
    "needs_response",
    "under_review",
    "won",
    "lost",
    "prevented",
    "appeal_needs_response",
    "appeal_under_review",
)
_FEE = 1500


def bring(state: AccountState, charge: Json, status: str, reason: str) -> Json:
    """Open a dispute over a charge, or move the one that is open to another status, with the events of that."""
    if status not in STATUSES:
        raise invalid(f"status must be one of {', '.join(STATUSES)}", param="status")
    own = [dispute for dispute in state.all("dispute") if dispute["charge"] == charge["id"]]
    dispute = own[-1] if own else _open(state, charge, reason, inquiry=status in INQUIRY)
    if dispute["status"] != status:
        _move(state, dispute, status)
    return dispute


def _open(state: AccountState, charge: Json, reason: str, *, inquiry: bool) -> Json:
    """As it begins: an inquiry takes no money, a chargeback takes it at once."""
    dispute = state.add(_dispute(charge, reason, inquiry, state.time()))
    charge["disputed"] = True
    state.emit("charge.dispute.created", dispute)
    if not inquiry:
        _balance(state, dispute, -dispute["amount"], _FEE)
        state.emit("charge.dispute.funds_withdrawn", dispute)
    charges.mark_actioned(state, charge)
    return dispute


def _dispute(charge: Json, reason: str, inquiry: bool, now: int) -> Json:
    return {
        **new_objects.dispute(),
        "id": new_id("du"),
        "amount": charge["amount"] - charge["amount_refunded"],
        "charge": charge["id"],
        "created": now,
        "currency": charge["currency"],
        "evidence_details": {
            "due_by": now + 9 * DAY,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "is_charge_refundable": inquiry,
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {
            "type": "card",
            "card": {
                "brand": "visa",
                "case_type": "inquiry" if inquiry else "chargeback",
                "network": "visa",
                "network_reason_code": "10.4",
            },
        },
        "reason": reason,
        "status": "warning_needs_response" if inquiry else "needs_response",
    }


def _move(state: AccountState, dispute: Json, status: str) -> None:
    """Evidence was sent, or the bank has decided; what was won comes back."""
    closes = status in CLOSED
    with state.emit_if_changed(dispute, "charge.dispute.closed" if closes else "charge.dispute.updated"):
        dispute["status"] = status
        if status in ("under_review", "warning_under_review", "appeal_under_review"):
            dispute["evidence_details"].update(has_evidence=True, submission_count=1, submission_method="manual")
    if status == "won":
        _balance(state, dispute, dispute["amount"], 0)
        state.emit("charge.dispute.funds_reinstated", dispute)


def _balance(state: AccountState, dispute: Json, amount: int, fee: int) -> None:
    dispute["balance_transactions"].append(
        {
            "id": new_id("txn"),
            "object": "balance_transaction",
            "amount": amount,
            "available_on": state.time(),
            "created": state.time(),
            "currency": dispute["currency"],
            "fee": fee,
            "net": amount - fee,
            "source": dispute["id"],
            "status": "available",
            "type": "adjustment",
        }
    )


def retrieve(state: AccountState, call: Call) -> Json:
    """GET /v1/disputes/{}."""
    return state.find("dispute", call.object_id)


def list_all(state: AccountState, call: Call) -> Json:
    """GET /v1/disputes, newest first. There is no filter by customer."""
    params = call.params
    found = [
        dispute
        for dispute in reversed(state.all("dispute"))
        if all(dispute[name] == value for name, value in chosen(params, "charge", "payment_intent").items())
        and ("created" not in params or in_time_range(dispute["created"], params["created"]))
    ]
    return page(state, found, params, "/v1/disputes")


def close(state: AccountState, call: Call) -> Json:
    """POST /v1/disputes/{}/close: give in, which loses it."""
    dispute = state.find("dispute", call.object_id)
    if dispute["status"] in CLOSED:
        raise invalid("This dispute is already closed.")
    _move(state, dispute, "warning_closed" if dispute["status"] in INQUIRY else "lost")
    return dispute


ROUTES = (
    Route(
        "GET",
        "/v1/disputes",
        list_all,
        Spec({**PAGE, "charge": TEXT_KEPT, "created": TIMES, "payment_intent": TEXT_KEPT}),
    ),
    Route("GET", "/v1/disputes/{}", retrieve),
    Route("POST", "/v1/disputes/{}/close", close),
)
