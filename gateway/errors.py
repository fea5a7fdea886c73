"""Every error that the project raises: a stable code, a public message, a private detail for the log.

Each border maps these classes to its own answer in one table: `web` and `gate` to a status, the worker to retry or
drop, `cli` to an exit code. Any other exception is an internal error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class SkpayError(Exception):
    """The base class. `message` may be public, `detail` is for the log only."""

    code = "error"

    def __init__(
        self, message: str, *, code: str | None = None, detail: str = "", fields: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.fields: dict[str, object] = dict(fields or {})
        if code is not None:
            self.code = code


class InvalidInput(SkpayError):
    """The request is invalid; retrying it unchanged cannot succeed."""

    code = "invalid_input"


class BadSignature(SkpayError):
    """A webhook or link with a wrong or expired signature."""

    code = "bad_signature"


class NotAuthenticated(SkpayError):
    """No credential, or an invalid one. `app_may_accept`: the app itself may accept it nevertheless."""

    code = "not_authenticated"
    app_may_accept = False


class Forbidden(SkpayError):
    """A valid credential that does not allow this."""

    code = "forbidden"


class TierRequired(SkpayError):
    """The user's tier is too low."""

    code = "tier_required"


class NotFound(SkpayError):
    """No such app, user, tier, route or row."""

    code = "not_found"


class Conflict(SkpayError):
    """The request conflicts with the current state."""

    code = "conflict"


class TooLarge(SkpayError):
    """A body, header or document over its limit."""

    code = "too_large"


class WrongMediaType(SkpayError):
    """A body of the wrong Content-Type."""

    code = "wrong_media_type"


class TooMany(SkpayError):
    """Over a limit of concurrent requests; retry after `retry_after_seconds`."""

    code = "too_many"

    def __init__(self, message: str, *, retry_after_seconds: int = 1, **more: object) -> None:
        super().__init__(message, **more)  # type: ignore[arg-type]  # forwarded keywords of the root class
        self.retry_after_seconds = retry_after_seconds


class UpstreamFailed(SkpayError):
    """Stripe, LiteLLM or Cloudflare did not answer, or its answer was unusable.

    `retryable` is False for a permanent refusal (a wrong parameter, a revoked key), which needs an operator. Such a
    refusal has its own code.
    """

    code = "upstream_failed"
    refused_code = "upstream_refused"

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = True,
        status: int | None = None,
        code: str | None = None,
        **more: object,
    ) -> None:
        code = code or (None if retryable else self.refused_code)
        super().__init__(message, code=code, **more)  # type: ignore[arg-type]  # forwarded keywords of the root class
        self.retryable = retryable
        self.status = status


class StoreUnavailable(SkpayError):
    """The database cannot read or write now: full, locked, read-only, unreachable."""

    code = "store_unavailable"


class ConfigError(SkpayError):
    """Invalid settings or apps.json. `problems` has one line for each, with its place."""

    code = "config_error"

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class AlreadyRunning(ConfigError):
    """Another instance uses the database `where`; `process` is its id if known."""

    code = "already_running"

    def __init__(self, where: str, process: str = "") -> None:
        self.holder = f"{where} (process {process})" if process else where
        super().__init__(
            [
                f"DATABASE_URL: another instance{f' (process {process})' if process else ''} already runs on {where};"
                " stop it first, or use another database for this one"
            ]
        )
