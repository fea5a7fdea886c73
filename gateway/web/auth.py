"""Who calls: an app's backend, the operator, or a person with a link that the gate signed."""

from __future__ import annotations

import hmac

from aiohttp import web

from gateway.access import links
from gateway.access.links import Link
from gateway.access.return_urls import upgrade_url
from gateway.billing.accounts.keys import check_app_key
from gateway.catalog.model import App
from gateway.errors import BadSignature, Forbidden, NotAuthenticated
from gateway.web.context import BILLING, SITE, Site

MAX_CREDENTIAL = 4096


def bearer(request: web.Request) -> str:
    """The one Bearer credential of the request, in ASCII. Raises `NotAuthenticated`."""
    values = request.headers.getall("Authorization", [])
    scheme, _, credential = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    usable = credential.strip() and credential.isascii() and len(credential) <= MAX_CREDENTIAL
    if scheme.lower() != "bearer" or not usable:
        raise NotAuthenticated("Send the key as Authorization: Bearer …, once.")
    return credential.strip()


def refuse_browsers(request: web.Request) -> None:
    """A key that got into a web page must not work there (T13): every browser sends one of these headers."""
    if "Origin" in request.headers or "Sec-Fetch-Site" in request.headers:
        raise Forbidden("This route is for servers; a key must never be in a browser.", code="browser_refused")


def require_app(request: web.Request) -> str:
    """The app id of the path, if the caller has a key of that app."""
    refuse_browsers(request)
    app_id = request.match_info["app_id"]
    check_app_key(request.app[BILLING], app_id, bearer(request))
    return app_id


def is_operator(request: web.Request) -> bool:
    """Whether the caller has the admin token. Compared in constant time."""
    try:
        presented = bearer(request).encode()
    except NotAuthenticated:
        return False
    matched = False
    for token in request.app[SITE].admin_tokens:
        matched |= hmac.compare_digest(token.reveal().encode(), presented)
    return matched


def require_operator(request: web.Request) -> None:
    refuse_browsers(request)
    if not is_operator(request):
        raise NotAuthenticated("The admin token is missing or wrong.", code="invalid_admin_token")


def require_app_or_operator(request: web.Request) -> str:
    """The app id of the path, for its backend or for the operator."""
    refuse_browsers(request)
    return request.match_info["app_id"] if is_operator(request) else require_app(request)


def require_buyer(request: web.Request) -> tuple[App, Link]:
    """The app, and what the link says that the gate signed: the person is never a parameter.

    A POST must also come from our own page: browsers tell where from, and other pages cannot forge it.
    """
    site = request.app[SITE]
    refuse_other_pages(request)
    app = request.app[BILLING].app(request.match_info["app_id"])
    token = ""
    try:
        token = bearer(request)
        return app, links.read(site.link_keys, token, app.app_id, request.app[BILLING].now())
    except (BadSignature, NotAuthenticated) as exc:
        raise NotAuthenticated(
            f"This link is not valid any more. Go back to {app.name} and open “Upgrade” again.",
            code=exc.code,
            fields=_next_pages(app, site, _return_url_of(site, token, app.app_id)),
        ) from exc


def require_change(request: web.Request) -> tuple[App, Link]:
    """The app, and what the link says with which Stripe sent the person back."""
    site = request.app[SITE]
    refuse_other_pages(request)
    app = request.app[BILLING].app(request.match_info["app_id"])
    try:
        return app, links.read_change(site.link_keys, bearer(request), app.app_id, request.app[BILLING].now())
    except (BadSignature, NotAuthenticated) as exc:
        message = f"This page is not valid any more. {app.name} shows the plan that you have."
        raise NotAuthenticated(message, code=exc.code, fields=_next_pages(app, site, "")) from exc


def _next_pages(app: App, site: Site, return_url: str) -> dict[str, object]:
    """Where somebody goes whose link is over: to the app, or to the plans with a fresh link."""
    return {
        "app": {"name": app.name, "url": app.cancel_url},
        "upgrade_url": upgrade_url(app, site.public_url, return_url),
    }


def _return_url_of(site: Site, token: str, app_id: str) -> str:
    """Where a link of ours leads back to, however old it is."""
    try:
        return links.read(site.link_keys, token, app_id, now=0).return_url
    except BadSignature:
        return ""


def refuse_other_pages(request: web.Request) -> None:
    """Raises `Forbidden` for what a page that is not ours sends."""
    site = request.app[SITE]
    if request.method == "POST" and request.headers.get("Origin", "").lower() != site.origin:
        raise Forbidden("This can only be sent from our own page.", code="foreign_origin")
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise Forbidden("This can only be sent from our own page.", code="foreign_origin")
