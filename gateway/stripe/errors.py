"""Stripe's errors, translated once: callers catch a class and never compare codes."""

from __future__ import annotations

from typing import Any

from gateway.errors import UpstreamFailed

_MAX_RETRY_AFTER_SECONDS = 10
"""If Stripe asks for a longer wait, the call fails at once: the caller has its own schedule of retries."""
_TRANSIENT_STATUSES = frozenset({408, 409, 425, 429})
"""409: `idempotency_key_in_use` and objects that another request changes; 429: `rate_limit`, `lock_timeout`."""


def is_transient(status: int) -> bool:
    """Whether the same request may succeed later. Decides what is retried and what counts as refused for good."""
    return status in _TRANSIENT_STATUSES or status >= 500


class StripeError(UpstreamFailed):
    """Stripe answered with an error. `stripe_code` is Stripe's own (`resource_missing`, `rate_limit` …).

    `retryable`: a later try may succeed. `retry_now`: Stripe allows a retry at once or, if it asks for that, after
    `retry_after_seconds`. `replayed`: the answer was saved under our idempotency key by an earlier call, and stays the
    same for a day.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        stripe_code: str,
        param: str,
        request_id: str,
        retry_now: bool,
        retry_after_seconds: int = 0,
        replayed: bool = False,
    ) -> None:
        transient = is_transient(status)
        super().__init__(
            "Stripe failed the request." if transient else "Stripe refused the request.",
            code=None if transient else "stripe_refused",
            retryable=transient,
            status=status,
            detail=f"{status} {stripe_code} {param} {request_id}: {message}",
            fields={"request_id": request_id} if request_id else {},
        )
        self.stripe_code = stripe_code
        self.param = param
        self.retry_now = retry_now and retry_after_seconds <= _MAX_RETRY_AFTER_SECONDS
        self.retry_after_seconds = retry_after_seconds
        self.replayed = replayed


class InvalidRequest(StripeError):
    """400: Stripe does not accept a parameter, for a reason without a code of ours."""


class AuthenticationFailed(StripeError):
    """401: Stripe does not know the API key."""


class PermissionDenied(StripeError):
    """403: the restricted key lacks a permission."""


class StripeNotFound(StripeError):
    """Stripe has no object of this id, or not in the account and mode of our key."""


class UnknownPath(StripeError):
    """404 that is not about an object: this account or API version lacks the call."""


_OF_THE_KEY: dict[int, type[StripeError]] = {401: AuthenticationFailed, 403: PermissionDenied}
_BY_CODE: dict[str, type[StripeError]] = {"resource_missing": StripeNotFound}
_BY_STATUS: dict[int, type[StripeError]] = {400: InvalidRequest, 404: UnknownPath}


def stripe_error(message: str, *, status: int, stripe_code: str, **more: Any) -> StripeError:
    """The error of the class that its status and code belong to."""
    error_class = _OF_THE_KEY.get(status) or _BY_CODE.get(stripe_code) or _BY_STATUS.get(status, StripeError)
    return error_class(message, status=status, stripe_code=stripe_code, **more)
