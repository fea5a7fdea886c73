"""Authentication of the caller of a public route: an app's backend, the operator, a buyer, Stripe."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from aiohttp import web

from gateway.access import links
from gateway.access.links import Link
from gateway.access.return_urls import upgrade_url
from gateway.billing.accounts.keys import check_app_key
from gateway.catalog.model import App
from gateway.errors import BadSignature, Forbidden, NotAuthenticated
from gateway.settings import Secrets
from gateway.stripe.signature import check_header
from gateway.web.context import BILLING, SITE, Site

Caller = Literal["anyone", "app", "operator", "app or operator", "buyer", "returning buyer", "stripe", "gate"]


class Buyer(NamedTuple):
    """The person that a signed link names, and the app of the path."""

    app: App
    link: Link


APP_ID = web.RequestKey("app_id", str)
"""The app of the path; the caller has a key of it or is the operator."""
BUYER = web.RequestKey("buyer", Buyer)
MAX_CREDENTIAL = 4096


def bearer(request: web.Request) -> str:
    """The one Bearer credential of the request, in ASCII. Raises `NotAuthenticated`."""
    values = request.headers.getall("Authorization", [])
    scheme, _, credential = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    usable = credential.strip() and credential.isascii() and len(credential) <= MAX_CREDENTIAL
    if scheme.lower() != "bearer" or not usable:
        raise NotAuthenticated("Send the key as Authorization: Bearer …, once.")
    return credential.strip()


def is_operator(request: web.Request) -> bool:
    """Whether the caller has the admin token. Compared in constant time."""
    try:
        presented = bearer(request).encode()
    except NotAuthenticated:
        return False
    return _is_one_of(request.app[SITE].admin_tokens, presented)


def _is_one_of(secrets: Secrets, presented: bytes) -> bool:
    matched = False
    for secret in secrets:
        matched |= hmac.compare_digest(secret.reveal().encode(), presented)
    return matched


def _refuse_browsers(request: web.Request) -> None:
    """A key in a web page must not work there (T13): every browser sends one of these headers."""
    if "Origin" in request.headers or "Sec-Fetch-Site" in request.headers:
        raise Forbidden("This route is for servers; a key must never be in a browser.", code="browser_refused")


def _accept_anyone(request: web.Request) -> None:
    """The route needs no credential."""


def _require_app(request: web.Request) -> None:
    _refuse_browsers(request)
    app_id = request.match_info["app_id"]
    check_app_key(request.app[BILLING].apps, app_id, bearer(request))
    request[APP_ID] = app_id


def _require_operator(request: web.Request) -> None:
    _refuse_browsers(request)
    if not is_operator(request):
        raise NotAuthenticated("The admin token is missing or wrong.", code="invalid_admin_token")


def _require_gate(request: web.Request) -> None:
    """A gate process, which has Traefik's secret."""
    _refuse_browsers(request)
    if not _is_one_of(request.app[SITE].gate_secrets, bearer(request).encode()):
        raise NotAuthenticated("The gate secret is wrong.", code="invalid_gate_secret")


def _require_app_or_operator(request: web.Request) -> None:
    _refuse_browsers(request)
    if is_operator(request):
        request[APP_ID] = request.match_info["app_id"]
    else:
        _require_app(request)


def _require_buyer(request: web.Request) -> None:
    """The gate signed the link; the user is never a parameter."""
    site = request.app[SITE]
    _refuse_other_pages(request)
    app = request.app[BILLING].apps.app(request.match_info["app_id"])
    token = ""
    try:
        token = bearer(request)
        request[BUYER] = Buyer(app, links.read(site.link_keys, token, app.app_id, request.app[BILLING].work.now()))
    except (BadSignature, NotAuthenticated) as exc:
        raise NotAuthenticated(
            f"This link is not valid any more. Go back to {app.name} and open “Upgrade” again.",
            code=exc.code,
            fields=_next_pages(app, site, _return_url_of(site, token, app.app_id)),
        ) from exc


def _require_returning_buyer(request: web.Request) -> None:
    """Stripe sent the person back with the link that `buy.buy` signed."""
    site, billing = request.app[SITE], request.app[BILLING]
    _refuse_other_pages(request)
    app = billing.apps.app(request.match_info["app_id"])
    try:
        request[BUYER] = Buyer(app, links.read_change(site.link_keys, bearer(request), app.app_id, billing.work.now()))
    except (BadSignature, NotAuthenticated) as exc:
        message = f"This page is not valid any more. {app.name} shows the plan that you have."
        raise NotAuthenticated(message, code=exc.code, fields=_next_pages(app, site, "")) from exc


def _require_stripe_header(request: web.Request) -> None:
    """Present, well-formed and recent, before the body is read. `receive` verifies the body's signature."""
    billing = request.app[BILLING]
    signature = request.headers.get("Stripe-Signature", "")
    check_header(signature, billing.work.clock(), billing.stripe.clock_ahead_seconds)


AUTHENTICATE: Mapping[Caller, Callable[[web.Request], None]] = {
    "gate": _require_gate,
    "anyone": _accept_anyone,
    "app": _require_app,
    "operator": _require_operator,
    "app or operator": _require_app_or_operator,
    "buyer": _require_buyer,
    "returning buyer": _require_returning_buyer,
    "stripe": _require_stripe_header,
}
"""Each returns for an authenticated caller, sets `APP_ID` or `BUYER` where its caller has one, and raises
`NotAuthenticated`, `Forbidden`, `NotFound` (unknown app of a buyer) or `BadSignature` otherwise."""


def _next_pages(app: App, site: Site, return_url: str) -> dict[str, object]:
    """Where an expired link leads: to the app, or to the plans with a new link."""
    return {
        "app": {"name": app.name, "url": app.cancel_url},
        "upgrade_url": upgrade_url(app, site.public_url, return_url),
    }


def _return_url_of(site: Site, token: str, app_id: str) -> str:
    """The return URL of a link that we signed, expired or not."""
    try:
        return links.read(site.link_keys, token, app_id, now=0).return_url
    except BadSignature:
        return ""


def _refuse_other_pages(request: web.Request) -> None:
    """Only our own page may send this: browsers name the sending page's origin, and no page can forge it."""
    site = request.app[SITE]
    if request.method == "POST" and request.headers.get("Origin", "").lower() != site.origin:
        raise Forbidden("This can only be sent from our own page.", code="foreign_origin")
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise Forbidden("This can only be sent from our own page.", code="foreign_origin")
