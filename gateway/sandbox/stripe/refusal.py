"""What Stripe answers when it refuses: one exception and its common messages."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """An error answer: HTTP status, Stripe's type, code, message and param."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        decline_code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind
        self.error_code = code
        self.param = param
        self.decline_code = decline_code

    def body(self) -> dict[str, Any]:
        """The JSON of the answer; absent fields are left out, as Stripe does."""
        error: dict[str, Any] = {"message": self.message, "type": self.kind}
        if self.error_code is not None:
            error["code"] = self.error_code
            error["doc_url"] = f"https://stripe.com/docs/error-codes/{self.error_code.replace('_', '-')}"
        if self.param is not None:
            error["param"] = self.param
        if self.decline_code is not None:
            error["decline_code"] = self.decline_code
        return {"error": error}


def invalid(message: str, *, param: str | None = None, code: str | None = None) -> ApiError:
    """A plain 400."""
    return ApiError(400, message, code=code, param=param)


def missing(kind: str, object_id: str, *, param: str | None = None) -> ApiError:
    """No such object: 404 if its id was in the path (`param` is None, Stripe then answers `id`), else 400."""
    status = 404 if param is None else 400
    return ApiError(status, f"No such {kind}: '{object_id}'", code="resource_missing", param=param or "id")


def declined(message: str = "Your card was declined.") -> ApiError:
    """The 402 of a card that fails."""
    return ApiError(402, message, kind="card_error", code="card_declined", decline_code="generic_decline")
