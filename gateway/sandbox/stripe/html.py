"""The frame of every page, and the parts that they are made of. Values are escaped here."""

from __future__ import annotations

import time
from html import escape

from aiohttp import web

from gateway.sandbox.stripe.account_state import AccountState, Json

_STYLE = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { margin: 0 auto; max-width: 40rem; padding: 0 1rem 3rem; }
.banner { background: #b45309; color: #fff; margin: 0 -1rem 1rem; padding: .5rem 1rem; text-align: center; }
.error { border-left: .3rem solid #dc2626; padding-left: .75rem; }
.said { border-left: .3rem solid #16a34a; padding-left: .75rem; }
form { display: flex; flex-wrap: wrap; gap: .5rem; margin: .5rem 0; }
button, select { font: inherit; max-width: 100%; min-height: 2.75rem; padding: .25rem 1rem; }
button:focus-visible, a:focus-visible, select:focus-visible { outline: .2rem solid #2563eb; outline-offset: .15rem; }
section { border-top: 1px solid #8886; margin-top: 1rem; padding-top: .5rem; overflow-wrap: anywhere; }
"""
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def document(title: str, body: str, status: int = 200) -> web.Response:
    """A whole page; `body` is HTML already."""
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} (sandbox)</title><style>{_STYLE}</style></head><body>"
        '<p class="banner" role="note"><strong>SANDBOX</strong>: a pretend Stripe. No money moves.</p>'
        f"<main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )
    return web.Response(text=text, content_type="text/html", charset="utf-8", status=status, headers=_HEADERS)


def see_other(url: str) -> web.Response:
    """Redirect to a page with GET."""
    return web.Response(status=303, headers={"Location": url, "Cache-Control": "no-store"})


def form(action: str, buttons: list[tuple[str, str]], hidden: dict[str, str] | None = None, inner: str = "") -> str:
    """A POST form; each button is `(value of "action", label)`; `inner` is HTML already."""
    fields = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in (hidden or {}).items()
    )
    drawn = "".join(
        f'<button name="action" value="{escape(value)}">{escape(label)}</button>' for value, label in buttons
    )
    return f'<form method="post" action="{escape(action)}">{fields}{inner}{drawn}</form>'


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph; kinds `error` and `said` are announced to screen readers."""
    role = {"error": ' role="alert"', "said": ' role="status"'}.get(kind, "")
    return f'<p class="{escape(kind)}"{role}>{escape(text)}</p>'


def link(url: str, label: str) -> str:
    """A plain link."""
    return f'<p><a href="{escape(url)}">{escape(label)}</a></p>'


def money(unit_amount: int, currency: str) -> str:
    """`20.00 USD`; the sandbox knows only currencies with two digits."""
    return f"{unit_amount / 100:.2f} {currency.upper()}"


def price_text(state: AccountState, price_id: str) -> str:
    """`Pro, 20.00 USD per month`."""
    price = state.objects["price"][price_id]
    name = state.objects["product"][price["product"]]["name"]
    recurring = price["recurring"]
    per = f" per {recurring['interval']}" if recurring else ""
    return f"{name}, {money(price['unit_amount'], price['currency'])}{per}"


def day(moment: int) -> str:
    """A date in UTC."""
    return time.strftime("%Y-%m-%d", time.gmtime(moment))


def standing(subscription: Json) -> str:
    """Its status and, where known, its end."""
    text = f"Status: {subscription['status']}"
    if subscription["cancel_at"] is not None and subscription["ended_at"] is None:
        text += f", ends {day(subscription['cancel_at'])}"
    return text
