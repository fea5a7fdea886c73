"""The API for app backends: checkout, portal, status, explain."""

from __future__ import annotations

from aiohttp import web

from gateway.billing.checkout.checkout import open_checkout
from gateway.billing.checkout.portal import open_portal
from gateway.billing.checkout.price_choice import PriceChoice
from gateway.billing.refresh import status as statuses
from gateway.user_ids import check_user_id
from gateway.web.answers import answer
from gateway.web.auth import APP_ID
from gateway.web.bodies import read_json
from gateway.web.context import BILLING
from gateway.web.models import (
    CheckoutAnswer,
    CheckoutRequest,
    ExplainAnswer,
    PortalAnswer,
    PortalRequest,
    StatusAnswer,
)


async def checkout(request: web.Request) -> web.Response:
    """A link to buy a tier, or to change an existing subscription."""
    app_id = request[APP_ID]
    body = await read_json(request, CheckoutRequest)
    choice = PriceChoice(body.price, body.interval, body.interval_count, body.currency)
    link = await open_checkout(request.app[BILLING], app_id, body.user_id, body.email, body.tier, choice)
    return answer(CheckoutAnswer(checkout_url=link.url, kind=link.kind))


async def portal(request: web.Request) -> web.Response:
    """A link to Stripe's portal; 404 `no_customer` before the first checkout."""
    app_id = request[APP_ID]
    body = await read_json(request, PortalRequest)
    billing = request.app[BILLING]
    url = await open_portal(billing, billing.apps.app(app_id), check_user_id(body.user_id))
    return answer(PortalAnswer(portal_url=url))


async def status(request: web.Request) -> web.Response:
    """The user's current tier; an unknown user has the default tier."""
    app_id = request[APP_ID]
    found = await statuses.status(
        request.app[BILLING].work, request.app[BILLING].apps, app_id, request.match_info["user_id"]
    )
    return answer(StatusAnswer.model_validate(found))


async def explain(request: web.Request) -> web.Response:
    """The events, changes and provisioning behind the tier."""
    app_id = request[APP_ID]
    found = await statuses.explain(
        request.app[BILLING].work, request.app[BILLING].apps, app_id, request.match_info["user_id"]
    )
    return answer(ExplainAnswer.model_validate(found))
