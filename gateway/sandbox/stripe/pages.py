"""The pages for a browser: index, checkout, portal, hosted invoice; and their forms."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from html import escape

from aiohttp import web

from gateway.sandbox.stripe import billing, checkout_page, clock, invoicing, portal_page
from gateway.sandbox.stripe.account_state import DAY, AccountState
from gateway.sandbox.stripe.dashboard import Dashboard
from gateway.sandbox.stripe.html import (
    day,
    document,
    form,
    link,
    money,
    paragraph,
    price_text,
    see_other,
    standing,
)
from gateway.sandbox.stripe.refusal import ApiError

Page = Callable[[web.Request], Awaitable[web.Response]]
_MONTH_SECONDS = 31 * DAY + 2 * 3600


def page_routes(dashboard: Dashboard) -> list[web.RouteDef]:
    """Every page and form of one dashboard."""
    state = dashboard.state

    async def index(request: web.Request) -> web.Response:
        return _index(state)

    async def demo(request: web.Request) -> web.Response:
        return _demo(dashboard, await _sent(request))

    async def pay_page(request: web.Request) -> web.Response:
        return checkout_page.show(state, request.match_info["session_id"])

    async def pay(request: web.Request) -> web.Response:
        sent = await _sent(request)
        return checkout_page.act(state, request.match_info["session_id"], sent.get("action", ""))

    async def portal_home(request: web.Request) -> web.Response:
        return portal_page.show(state, request.match_info["secret"], request.query.get("said", ""))

    async def portal_click(request: web.Request) -> web.Response:
        return portal_page.act(state, request.match_info["secret"], await _sent(request))

    async def invoice_page(request: web.Request) -> web.Response:
        return _invoice(state, request.match_info["invoice_id"])

    async def invoice_pay(request: web.Request) -> web.Response:
        return _pay_invoice(state, request.match_info["invoice_id"], (await _sent(request)).get("action", ""))

    routes: list[tuple[str, str, Page]] = [
        ("GET", "/", index),
        ("POST", "/", demo),
        ("GET", "/c/pay/{session_id}", pay_page),
        ("POST", "/c/pay/{session_id}", pay),
        ("GET", "/p/session/{secret}", portal_home),
        ("POST", "/p/session/{secret}", portal_click),
        ("GET", "/i/{invoice_id}", invoice_page),
        ("POST", "/i/{invoice_id}", invoice_pay),
    ]
    return [web.route(method, path, _settled(state, page)) for method, path, page in routes]


def _settled(state: AccountState, page: Page) -> Page:
    async def serve(request: web.Request) -> web.Response:
        clock.settle(state)
        return await page(request)

    return serve


async def _sent(request: web.Request) -> dict[str, str]:
    return {name: value for name, value in (await request.post()).items() if isinstance(value, str)}


def _index(state: AccountState) -> web.Response:
    body = paragraph(f"The account's clock: {day(state.time())}")
    body += form("/", [("advance_day", "Advance 1 day"), ("advance_month", "Advance 1 month")])
    for customer in reversed(state.all("customer")):
        if customer.get("deleted"):
            continue
        named = customer["email"] or customer["name"] or customer["id"]
        body += f"<section><h2>{escape(named)}</h2>"
        body += paragraph(f"{customer['id']}, card: {state.cards.get(customer['id'], 'none')}")
        body += form("/", [("card_ok", "Card works"), ("card_fail", "Card fails")], {"customer": customer["id"]})
        for subscription in reversed(state.all("subscription")):
            if subscription["customer"] == customer["id"]:
                plans = ", ".join(price_text(state, item["price"]) for item in subscription["items"]["data"])
                body += f"<h3>{escape(plans)}</h3>" + paragraph(standing(subscription))
                if subscription["status"] not in billing.OVER:
                    buttons = [
                        ("fail_renewal", "Next renewal fails"),
                        ("renew", "Renew now"),
                        ("pay_invoice", "Pay the open invoice"),
                    ]
                    body += form("/", buttons, {"subscription": subscription["id"]})
        body += "</section>"
    return document("A fake Stripe account", body)


def _demo(dashboard: Dashboard, sent: dict[str, str]) -> web.Response:
    action, subscription_id = sent.get("action"), sent.get("subscription", "")
    try:
        if action == "advance_day":
            dashboard.advance(DAY)
        elif action == "advance_month":
            dashboard.advance(_MONTH_SECONDS)
        elif action in ("card_ok", "card_fail"):
            dashboard.set_card(sent.get("customer", ""), "ok" if action == "card_ok" else "fail")
        elif action == "fail_renewal":
            dashboard.fail_next_renewal(subscription_id)
        elif action == "renew":
            dashboard.renew(subscription_id)
        elif action == "pay_invoice":
            dashboard.pay_open_invoice(subscription_id)
        else:
            return document("Unknown button", paragraph("This page has no such button.", "error"), 400)
    except ApiError as exc:
        return document("Refused", paragraph(exc.message, "error") + link("/", "Back"), exc.status)
    return see_other("/")


def _invoice(state: AccountState, invoice_id: str, error: str | None = None) -> web.Response:
    invoice = state.objects["invoice"].get(invoice_id)
    if invoice is None:
        return document("Not found", paragraph("There is no such invoice.", "error"), 404)
    body = paragraph(f"{money(invoice['amount_due'], invoice['currency'])}, status: {invoice['status']}")
    body += paragraph(error, "error") if error else ""
    if invoice["status"] == "open":
        body += form(f"/i/{invoice_id}", [("pay", "Pay"), ("pay_fail", "Pay with a card that fails")])
    return document(f"Invoice {invoice['number'] or ''}", body, 402 if error else 200)


def _pay_invoice(state: AccountState, invoice_id: str, action: str) -> web.Response:
    """The hosted invoice: a card entered here pays this invoice and becomes the customer's."""
    invoice = state.objects["invoice"].get(invoice_id)
    if invoice is None or invoice["status"] != "open":
        return _invoice(state, invoice_id)
    if action != "pay":
        return _invoice(state, invoice_id, "Your card was declined.")
    state.cards[invoice["customer"]] = "ok"
    invoicing.settle_outside(state, invoice)
    billing.after_payment(state, invoice)
    return see_other(f"/i/{invoice_id}")
