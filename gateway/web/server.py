"""The public listener as an aiohttp application."""

from __future__ import annotations

from aiohttp import web

from gateway.billing.context import Billing
from gateway.web.context import BILLING, SITE, Site
from gateway.web.errors import errors_as_json, guarded_headers
from gateway.web.openapi import OPENAPI_PATH, serve_openapi
from gateway.web.routes import API


def web_application(billing: Billing, site: Site) -> web.Application:
    """Every public route over these use cases; starting and stopping them is the caller's business."""
    application = web.Application(middlewares=[guarded_headers, errors_as_json])
    application[BILLING] = billing
    application[SITE] = site
    for route in API:
        application.router.add_route(route.method, route.path, route.handler)
    application.router.add_route("GET", OPENAPI_PATH, serve_openapi)
    return application
