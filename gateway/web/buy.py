"""The buyer's page and what it calls. The person is who the gate saw: the link's signature, never a parameter."""

from __future__ import annotations

from functools import cache
from importlib import resources

from aiohttp import web

from gateway.billing.checkout import open_checkout
from gateway.billing.choice import PriceChoice
from gateway.billing.offer import offer as offer_of
from gateway.billing.portal import open_portal
from gateway.web.answers import answer
from gateway.web.auth import require_buyer
from gateway.web.bodies import read_json
from gateway.web.context import BILLING
from gateway.web.models import BuyRequest, CheckoutAnswer, PortalAnswer

_PAGES = resources.files("gateway.web") / "pages"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)


@cache
def _text(name: str) -> str:
    """A file of the page; it is part of the package, so it is read once."""
    return (_PAGES / name).read_text(encoding="utf-8")


ASSETS = {"buy.js": "text/javascript", "buy.css": "text/css"}


async def page(request: web.Request) -> web.Response:
    """The same static page for everybody; its script asks for the rest with the link's token."""
    request.app[BILLING].app(request.match_info["app_id"])
    return web.Response(text=_text("buy.html"), content_type="text/html", headers={"Content-Security-Policy": _POLICY})


async def asset(request: web.Request) -> web.Response:
    """The page's script and style, by a fixed list of names."""
    name = request.match_info["name"]
    if name not in ASSETS:
        raise web.HTTPNotFound
    return web.Response(text=_text(name), content_type=ASSETS[name])


async def offer(request: web.Request) -> web.Response:
    """The tiers for sale and where the person stands."""
    app_id, user_id = require_buyer(request)
    return web.json_response(await offer_of(request.app[BILLING], app_id, user_id))


async def buy(request: web.Request) -> web.Response:
    """A checkout link for the person, or a portal link if they have a subscription."""
    app_id, user_id = require_buyer(request)
    wanted = await read_json(request, BuyRequest)
    choice = PriceChoice(wanted.price, wanted.interval, wanted.interval_count, wanted.currency)
    link = await open_checkout(request.app[BILLING], app_id, user_id, None, wanted.tier, choice)
    return answer(CheckoutAnswer(checkout_url=link.url, kind=link.kind))


async def manage(request: web.Request) -> web.Response:
    """A portal link for the person."""
    app_id, user_id = require_buyer(request)
    billing = request.app[BILLING]
    return answer(PortalAnswer(portal_url=await open_portal(billing, billing.app(app_id), user_id)))
