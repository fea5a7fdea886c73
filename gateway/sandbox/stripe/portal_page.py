"""The customer portal: the subscriptions, a change of plan, cancellation, the card; or just the step of a deep link."""

from __future__ import annotations

from html import escape

from aiohttp import web

from gateway.sandbox.stripe import billing, portal
from gateway.sandbox.stripe.account_state import AccountState, Json
from gateway.sandbox.stripe.html import document, form, link, money, paragraph, price_text, see_other, standing
from gateway.sandbox.stripe.refusal import ApiError, invalid

_SAID = {
    "changed": "Your plan has been changed.",
    "scheduled": "Your plan will change at the end of the period.",
    "cancel": "Your subscription will end with its period.",
    "cancel_now": "Your subscription has been canceled.",
    "keep": "Your subscription goes on.",
    "card_ok": "Your card has been replaced by one that works.",
    "card_fail": "Your card has been replaced by one that will fail.",
    "pay_invoice": "The open invoice has been paid.",
}
_FEATURE = {
    "change_plan": "subscription_update",
    "cancel": "subscription_cancel",
    "cancel_now": "subscription_cancel",
    "card_ok": "payment_method_update",
    "card_fail": "payment_method_update",
}


def show(state: AccountState, secret: str, notice: str = "", error: str | None = None) -> web.Response:
    """The portal's home, or the one step a deep link asks for."""
    session = _session(state, secret)
    if session is None:
        return document("Expired", paragraph("This link has expired. Go back and open the portal again.", "error"), 404)
    body = paragraph(_SAID[notice], "said") if notice in _SAID else ""
    body += paragraph(error, "error") if error else ""
    flow = session["flow"]
    if flow is not None and not session.get("_flow_done"):
        body += _step(state, session, secret)
    else:
        body += _home(state, session, secret)
    if session["return_url"]:
        body += link(session["return_url"], "Back")
    return document("Customer portal", body, 402 if error else 200)


def _session(state: AccountState, secret: str) -> Json | None:
    for session in state.all("billing_portal.session"):
        if session["_secret"] == secret:
            fresh = state.time() - session["created"] <= state.settings.portal_session_seconds
            return session if fresh else None
    return None


def _subscriptions(state: AccountState, session: Json) -> list[Json]:
    return [
        subscription
        for subscription in reversed(state.all("subscription"))
        if subscription["customer"] == session["customer"] and subscription["status"] not in billing.OVER
    ]


def _home(state: AccountState, session: Json, secret: str) -> str:
    features = state.objects["billing_portal.configuration"][session["configuration"]]["features"]
    body = ""
    for subscription in _subscriptions(state, session):
        body += f"<section>{_summary(state, subscription)}"
        if features["subscription_update"]["enabled"]:
            body += _plans(state, session, subscription, secret)
        if features["subscription_cancel"]["enabled"]:
            body += _ends(subscription, secret)
        body += _open_invoice(state, subscription, secret) + "</section>"
    if not body:
        body = paragraph("You have no subscription.")
    if features["payment_method_update"]["enabled"]:
        body += f"<section>{_cards(secret)}</section>"
    return body


def _step(state: AccountState, session: Json, secret: str) -> str:
    flow = session["flow"]
    kind = flow["type"]
    if kind == "payment_method_update":
        return _cards(secret)
    subscription = state.objects["subscription"][flow[kind]["subscription"]]
    body = _summary(state, subscription)
    if kind == "subscription_cancel":
        return body + _ends(subscription, secret)
    if kind == "subscription_update":
        return body + _plans(state, session, subscription, secret)
    price_id = flow[kind]["items"][0]["price"] or subscription["items"]["data"][0]["price"]
    body += paragraph(f"New plan: {price_text(state, price_id)}")
    hidden = {"subscription": subscription["id"], "price": price_id}
    return body + form(f"/p/session/{secret}", [("change_plan", "Confirm")], hidden)


def _summary(state: AccountState, subscription: Json) -> str:
    names = ", ".join(price_text(state, item["price"]) for item in subscription["items"]["data"])
    return f"<h2>{escape(names)}</h2>" + paragraph(standing(subscription))


def _plans(state: AccountState, session: Json, subscription: Json, secret: str) -> str:
    configuration = state.objects["billing_portal.configuration"][session["configuration"]]
    current = subscription["items"]["data"][0]["price"]
    others = [price_id for price_id in portal.offered(configuration) if price_id != current]
    if not others or len(subscription["items"]["data"]) != 1:
        return ""
    options = "".join(
        f'<option value="{escape(price_id)}">{escape(price_text(state, price_id))}</option>' for price_id in others
    )
    chooser = f'<label>Plan <select name="price">{options}</select></label>'
    hidden = {"subscription": subscription["id"]}
    return form(f"/p/session/{secret}", [("change_plan", "Change plan")], hidden, chooser)


def _ends(subscription: Json, secret: str) -> str:
    hidden = {"subscription": subscription["id"]}
    if subscription["cancel_at"] is not None:
        return form(f"/p/session/{secret}", [("keep", "Don't cancel"), ("cancel_now", "Cancel now")], hidden)
    return form(f"/p/session/{secret}", [("cancel", "Cancel"), ("cancel_now", "Cancel now")], hidden)


def _open_invoice(state: AccountState, subscription: Json, secret: str) -> str:
    for invoice in state.all("invoice"):
        if invoice["id"] == subscription["latest_invoice"] and invoice["status"] == "open":
            text = paragraph(f"Open invoice: {money(invoice['amount_due'], invoice['currency'])}")
            hidden = {"subscription": subscription["id"]}
            return text + form(f"/p/session/{secret}", [("pay_invoice", "Pay the open invoice")], hidden)
    return ""


def _cards(secret: str) -> str:
    buttons = [("card_ok", "Use a card that works"), ("card_fail", "Use a card that will fail")]
    return "<h2>Card</h2>" + form(f"/p/session/{secret}", buttons)


def act(state: AccountState, secret: str, sent: dict[str, str]) -> web.Response:
    """What a button does, within what the configuration allows and only on this customer's subscriptions."""
    session = _session(state, secret)
    if session is None:
        return show(state, secret)
    try:
        notice = _done(state, session, sent)
    except ApiError as exc:
        return show(state, secret, error=exc.message)
    flow = session["flow"]
    if flow is not None and not session.get("_flow_done"):
        session["_flow_done"] = True
        after = flow["after_completion"]
        if after["type"] == "redirect":
            return see_other(after["redirect"]["return_url"])
        if after["type"] == "hosted_confirmation":
            custom = (after["hosted_confirmation"] or {}).get("custom_message")
            return document("Done", paragraph(custom or _SAID[notice], "said"))
    return see_other(f"/p/session/{secret}?said={notice}")


def _done(state: AccountState, session: Json, sent: dict[str, str]) -> str:
    action = sent.get("action", "")
    configuration = state.objects["billing_portal.configuration"][session["configuration"]]
    feature = _FEATURE.get(action)
    if feature is not None and not configuration["features"][feature]["enabled"]:
        raise invalid("The portal's configuration does not allow this.")
    if action in ("card_ok", "card_fail"):
        state.cards[session["customer"]] = "ok" if action == "card_ok" else "fail"
        customer = state.objects["customer"][session["customer"]]
        with state.emit_if_changed(customer, "customer.updated"):
            customer["invoice_settings"]["default_payment_method"] = f"pm_sandbox_{action}_{state.time()}"
        return action
    subscription = next((s for s in _subscriptions(state, session) if s["id"] == sent.get("subscription")), None)
    if subscription is None:
        raise invalid("There is no such subscription here.")
    if action == "change_plan":
        if sent.get("price") not in portal.offered(configuration):
            raise invalid("This plan is not offered here.")
        return "changed" if portal.switch(state, configuration, subscription, sent["price"]) else "scheduled"
    if action == "pay_invoice":
        invoice = state.objects["invoice"][subscription["latest_invoice"]]
        if invoice["status"] != "open" or not billing.collect(state, invoice):
            raise invalid("Your card was declined.")
        return action
    if action == "keep":
        billing.keep(state, subscription)
    elif action in ("cancel", "cancel_now"):
        immediate = configuration["features"]["subscription_cancel"]["mode"] == "immediately"
        portal.cancel(state, subscription, at_once=action == "cancel_now" or immediate)
    else:
        raise invalid("This page has no such button.")
    return action
