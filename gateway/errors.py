"""Every error the project raises on purpose: a stable code, a message fit for a stranger, a detail for the log.

Each border maps these classes to its own answer in one table: `web` and `gate` to a status, the worker to retry or
drop, `cli` to an exit code. Anything else that escapes is a bug.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class SkpayError(Exception):
    """The root of all. `message` may be shown to anybody, `detail` goes to the log only."""

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
    """The caller sent what cannot be used; sending it again unchanged will not help."""

    code = "invalid_input"


class BadSignature(SkpayError):
    """A webhook or a link that was not signed with a secret of ours, or too long ago."""

    code = "bad_signature"


class NotAuthenticated(SkpayError):
    """No credential, or one that does not verify. `app_may_accept`: the app itself may take it all the same."""

    code = "not_authenticated"
    app_may_accept = False


class Forbidden(SkpayError):
    """A credential that verifies but does not allow this."""

    code = "forbidden"


class TierRequired(SkpayError):
    """A known person whose tier does not reach what they asked for."""

    code = "tier_required"


class NotFound(SkpayError):
    """No such app, user, tier, route or row."""

    code = "not_found"


class Conflict(SkpayError):
    """The request is fine by itself but contradicts what is there."""

    code = "conflict"


class TooLarge(SkpayError):
    """A body, header or document over its limit."""

    code = "too_large"


class WrongMediaType(SkpayError):
    """A body that is not what its Content-Type must say."""

    code = "wrong_media_type"


class TooMany(SkpayError):
    """More at once than we serve; `retry_after_seconds` says when to come back."""

    code = "too_many"

    def __init__(self, message: str, *, retry_after_seconds: int = 1, **more: object) -> None:
        super().__init__(message, **more)  # type: ignore[arg-type]  # forwarded keywords of the root class
        self.retry_after_seconds = retry_after_seconds


class UpstreamFailed(SkpayError):
    """Stripe, LiteLLM or Cloudflare did not answer, or answered what cannot be used.

    `retryable` is False when the vendor refused for good (a wrong parameter, a revoked key): the same request can never
    succeed and a person must look. Such a refusal has a code of its own.
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
    """The database cannot record or answer now: full, locked, read-only, gone."""

    code = "store_unavailable"


class ConfigError(SkpayError):
    """Settings or apps.json that cannot be used. `problems` holds every one, each a line that says where and what."""

    code = "config_error"

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class AlreadyRunning(ConfigError):
    """Another instance holds the database that `where` names; `process` is its id, where that is known."""

    code = "already_running"

    def __init__(self, where: str, process: str = "") -> None:
        self.holder = f"{where} (process {process})" if process else where
        super().__init__(
            [
                f"DATABASE_URL: another instance{f' (process {process})' if process else ''} already runs on {where};"
                " stop it first, or give this one a database of its own"
            ]
        )
