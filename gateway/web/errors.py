"""Every error as JSON: one table from our error classes to a status."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web

from gateway import errors
from gateway.log import fields

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

STATUS: dict[type[errors.SkpayError], int] = {
    errors.InvalidInput: 400,
    errors.BadSignature: 400,
    errors.NotAuthenticated: 401,
    errors.TierRequired: 402,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.WrongMediaType: 415,
    errors.TooMany: 429,
    errors.UpstreamFailed: 502,
    errors.StoreUnavailable: 503,
    errors.ConfigError: 409,
    errors.AlreadyRunning: 409,
}
RETRY_AFTER_SECONDS = 5


def status_of(error: errors.SkpayError) -> int:
    """The status of the nearest class in the table; what a vendor refused for good is a conflict, not an outage."""
    if isinstance(error, errors.UpstreamFailed) and not error.retryable:
        return STATUS[errors.Conflict]
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


def error_response(status: int, code: str, message: str, **more: object) -> web.Response:
    """`{"error": code, "message": …}` plus fields."""
    return web.json_response({"error": code, "message": message, **more}, status=status)


def http_error(exc: web.HTTPException) -> web.Response:
    """What aiohttp itself refuses, in our words."""
    status = HTTPStatus(exc.status)
    response = error_response(exc.status, status.name.lower(), status.description or exc.reason)
    if isinstance(exc, web.HTTPMethodNotAllowed):
        response.headers["Allow"] = ", ".join(sorted(exc.allowed_methods))
    return response


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The border: nothing but JSON leaves it, no traceback and no detail either."""
    try:
        return await handler(request)
    except errors.SkpayError as exc:
        response = error_response(status_of(exc), exc.code, exc.message, **exc.fields)
        if isinstance(exc, errors.TooMany):
            response.headers["Retry-After"] = str(exc.retry_after_seconds)
        elif isinstance(exc, errors.StoreUnavailable | errors.UpstreamFailed):
            if response.status >= 500:
                response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
            log.warning("request_failed", extra=fields(path=request.path, code=exc.code, detail=exc.detail))
        elif isinstance(exc, errors.NotAuthenticated):
            response.headers["WWW-Authenticate"] = "Bearer"
        return response
    except web.HTTPException as exc:
        if exc.status < 400:
            raise
        return http_error(exc)
    except Exception:
        log.exception("request_crashed", extra=fields(method=request.method, path=request.path))
        return error_response(500, "internal", "Something went wrong on our side; it is in the log.")


@web.middleware
async def security_headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What every answer carries: it is nobody's to keep, to guess the type of, or to learn our address from."""
    response = await handler(request)
    set_security_headers(response)
    return response


def set_security_headers(response: web.StreamResponse) -> None:
    """The headers that keep an answer from caches, from guesses of its type, and from telling what we are made of."""
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Server"] = "skpayments"  # and not the versions of what it is made of
