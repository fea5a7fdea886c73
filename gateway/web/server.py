"""The public listener as an aiohttp application."""

from __future__ import annotations

import logging
import re

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.billing.context import Billing
from gateway.web.connections import LIMITS, LINGER_SECONDS, Runner
from gateway.web.context import BILLING, SITE, Site
from gateway.web.errors import errors_as_json, security_headers
from gateway.web.header_echo import USED_ECHO_TOKENS, UsedEchoTokens
from gateway.web.openapi import OPENAPI_PATH, document, serve_openapi
from gateway.web.preflights import preflights
from gateway.web.routes import API

SHUTDOWN_SECONDS = 3.0


def web_application(billing: Billing, site: Site) -> web.Application:
    """Every public route. The caller starts and stops the use cases."""
    application = web.Application(middlewares=[security_headers, errors_as_json, preflights])
    application[BILLING] = billing
    application[SITE] = site
    application[USED_ECHO_TOKENS] = UsedEchoTokens()
    for route in API:
        # aiohttp's default pattern excludes braces, which a user id may hold.
        path = re.sub(r"{(\w+)}", r"{\1:[^/]+}", route.path)
        application.router.add_route(route.method, path, route.answer)
    application.router.add_route("GET", OPENAPI_PATH, serve_openapi)
    document()  # now, not during the first request for it
    return application


def web_runner(application: web.Application) -> web.AppRunner:
    """Bodies are not decompressed: no client needs it, and a small one may expand to gigabytes."""
    return Runner(
        application,
        access_log=None,
        handle_signals=False,
        logger=_http_logger(),
        auto_decompress=False,
        **LIMITS,
        lingering_time=LINGER_SECONDS,
        shutdown_timeout=SHUTDOWN_SECONDS,
    )


def _http_logger() -> logging.Logger:
    """aiohttp's log of connections without its parse errors: those quote the request and need no action."""
    logger = logging.getLogger("gateway.web.http")
    if _is_not_parse_error not in logger.filters:
        logger.addFilter(_is_not_parse_error)
    return logger


def _is_not_parse_error(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
