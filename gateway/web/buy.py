"""The plans page and its API. The user comes from the link that the gate signed, never from a parameter."""

from __future__ import annotations

from functools import cache
from importlib import resources
from urllib.parse import quote

from aiohttp import web

from gateway.access import links
from gateway.access.return_urls import is_page_of, upgrade_url
from gateway.billing.checkout.checkout import open_checkout
from gateway.billing.checkout.offer import change as change_of
from gateway.billing.checkout.offer import offer as offer_of
from gateway.billing.checkout.portal import open_portal
from gateway.billing.checkout.price_choice import PriceChoice
from gateway.web.answers import answer
from gateway.web.auth import BUYER
from gateway.web.bodies import read_json
from gateway.web.context import BILLING, SITE
from gateway.web.models import BuyRequest, CheckoutAnswer, PortalAnswer

_PAGES = resources.files("gateway.web") / "pages"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)


@cache
def _text(name: str) -> str:
    """A file of the page; read once, since it is part of the package."""
    return (_PAGES / name).read_text(encoding="utf-8")


ASSETS = {"buy.js": "text/javascript", "words.js": "text/javascript", "buy.css": "text/css"}


async def page(request: web.Request) -> web.Response:
    """The static plans page; its script loads the rest with the link's token."""
    request.app[BILLING].apps.app(request.match_info["app_id"])
    return web.Response(text=_text("buy.html"), content_type="text/html", headers={"Content-Security-Policy": _POLICY})


async def asset(request: web.Request) -> web.Response:
    """The page's scripts and styles, by a fixed list of names."""
    name = request.match_info["name"]
    if name not in ASSETS:
        raise web.HTTPNotFound
    return web.Response(text=_text(name), content_type=ASSETS[name])


async def offer(request: web.Request) -> web.Response:
    """The tiers for sale, the user's current tier, and the tier that the refused page needs."""
    app, link = request[BUYER]
    billing, site = request.app[BILLING], request.app[SITE]
    shown = await offer_of(billing, app.app_id, link.user_id)
    needed = app.tier(link.tier) if link.tier else None
    back = link.return_url if is_page_of(app, link.return_url) else None
    return web.json_response(
        {
            **shown,
            "required_tier": None if needed is None else {"id": needed.tier_id, "name": needed.name},
            "return_url": back,
            "upgrade_url": upgrade_url(app, site.public_url, back or ""),
            "expires_in_seconds": link.expires_at - billing.work.now(),
        }
    )


async def buy(request: web.Request) -> web.Response:
    """A checkout link, or a portal link for a user with a subscription."""
    app, link = request[BUYER]
    body = await read_json(request, BuyRequest)
    billing, site = request.app[BILLING], request.app[SITE]
    choice = PriceChoice(body.price, body.interval, body.interval_count, body.currency, body.unit_amount)
    key, now = site.link_keys[0], billing.work.now()
    token = links.sign_change(key, app.app_id, link.user_id, now, return_url=link.return_url, tier=body.tier)
    success_url = f"{site.public_url}/buy/{quote(app.app_id, safe='')}?r={token}"
    made = await open_checkout(billing, app.app_id, link.user_id, None, body.tier, choice, success_url=success_url)
    return answer(CheckoutAnswer(checkout_url=made.url, kind=made.kind))


async def change(request: web.Request) -> web.Response:
    """The result of the user's purchase or change; reads Stripe too, in case the event is late."""
    app, link = request[BUYER]
    found = await change_of(request.app[BILLING].work, request.app[BILLING].apps, app, link.user_id, link.tier)
    back = link.return_url if is_page_of(app, link.return_url) else app.success_url
    return web.json_response({**found, "return_url": back})


async def manage(request: web.Request) -> web.Response:
    """A portal link."""
    app, link = request[BUYER]
    return answer(PortalAnswer(portal_url=await open_portal(request.app[BILLING], app, link.user_id)))
