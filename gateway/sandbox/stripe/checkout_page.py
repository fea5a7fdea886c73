"""The page a checkout session's `url` leads to: pay, fail, leave."""

from __future__ import annotations

from aiohttp import web

from gateway.sandbox.stripe import checkout, delayed
from gateway.sandbox.stripe.account_state import AccountState, Json
from gateway.sandbox.stripe.html import document, form, money, paragraph, price_text, see_other
from gateway.sandbox.stripe.refusal import ApiError

_BUTTONS = [
    ("pay", "Pay"),
    ("pay_fail", "Pay with a card that fails"),
    ("pay_later", "Pay by bank debit (3 days)"),
    ("pay_later_fail", "Pay by bank debit that bounces"),
    ("leave", "Leave"),
]


def show(state: AccountState, session_id: str, error: str | None = None) -> web.Response:
    """The page, by the state of its session."""
    session = state.objects["checkout.session"].get(session_id)
    if session is None:
        return document("Not found", paragraph("There is no such checkout session.", "error"), 404)
    if session["status"] == "complete":
        return document("All done", paragraph("This checkout has already been paid."))
    if session["status"] == "expired":
        return document("Expired", paragraph("This checkout session has expired.", "error"), 410)
    body = "".join(paragraph(price_text(state, line["price"])) for line in session["_line_items"])
    body += paragraph(f"Due today: {money(session['amount_total'], session['currency'])}")
    if error:
        body += paragraph(error, "error")
    body += form(f"/c/pay/{session_id}", _BUTTONS)
    return document("Checkout", body, 402 if error else 200)


def act(state: AccountState, session_id: str, action: str) -> web.Response:
    """Handle a button; a second click on Pay finds the session complete and charges nothing."""
    session = state.objects["checkout.session"].get(session_id)
    if session is None or session["status"] != "open":
        return show(state, session_id)
    if action == "leave":
        if session["cancel_url"] is None:
            return document("Left", paragraph("You may close this page."))
        return see_other(session["cancel_url"])
    try:
        if action in ("pay", "pay_fail"):
            checkout.pay(state, session, card_works=action == "pay")
        elif action in ("pay_later", "pay_later_fail"):
            delayed.pay(state, session, bounces=action == "pay_later_fail")
        else:
            return document("Unknown button", paragraph("This page has no such button.", "error"), 400)
    except ApiError as exc:
        return show(state, session_id, exc.message)
    return see_other(_success_url(session))


def _success_url(session: Json) -> str:
    return str(session["success_url"]).replace("{CHECKOUT_SESSION_ID}", session["id"])
