"""Every error as JSON: one table maps our error classes to statuses."""

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
    """The status of the nearest class in the table; a permanent refusal by a vendor is a conflict, not an outage."""
    if isinstance(error, errors.UpstreamFailed) and not error.retryable:
        return STATUS[errors.Conflict]
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


def error_response(status: int, code: str, message: str, **more: object) -> web.Response:
    """`{"error": code, "message": …}` plus fields."""
    return web.json_response({"error": code, "message": message, **more}, status=status)


def http_error(exc: web.HTTPException) -> web.Response:
    """An error of aiohttp itself, in the same form."""
    status = HTTPStatus(exc.status)
    response = error_response(exc.status, status.name.lower(), status.description or exc.reason)
    if isinstance(exc, web.HTTPMethodNotAllowed):
        response.headers["Allow"] = ", ".join(sorted(exc.allowed_methods))
    return response


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The border: errors leave it as JSON, without traceback or detail."""
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
        return error_response(500, "internal", "Internal error; it was logged.")


@web.middleware
async def security_headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Set the security headers on every answer."""
    response = await handler(request)
    set_security_headers(response)
    return response


def set_security_headers(response: web.StreamResponse) -> None:
    """No caching, no type sniffing, no referrer, no version of the server."""
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Server"] = "skpayments"  # instead of aiohttp's and Python's versions
