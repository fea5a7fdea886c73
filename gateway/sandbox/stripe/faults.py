"""Failures to order: queued by method and path, each used a given number of times."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from gateway.sandbox.stripe.ids import new_id

Effect = Literal["status", "lost_reply", "slow", "truncated", "reset", "rubbish"]
EFFECTS: tuple[Effect, ...] = ("status", "lost_reply", "slow", "truncated", "reset", "rubbish")
_CODES = {429: "rate_limit", 409: "lock_timeout"}


@dataclass
class Fault:
    """One failure to order.

    `status`: answer with it, without doing anything; 500 and above are saved under the idempotency key. With `done` it
    is done all the same, as an error 500 of the real one does not mean that nothing has happened.
    `lost_reply`: do it, then close the connection. `slow`: wait `seconds`, then do it. `truncated`: do it, send half
    of the body. `reset`: close the connection at once. `rubbish`: answer 200 with HTML, nothing done.
    """

    effect: Effect
    path: str = ".*"
    method: str = ".*"
    times: int = 1
    status: int = 500
    code: str | None = None
    should_retry: bool | None = None
    retry_after: int | None = None
    seconds: float = 1.0
    done: bool = False
    fault_id: str = field(default_factory=lambda: new_id("fault", 8))

    def fits(self, method: str, path: str) -> bool:
        """Whether it is meant for this request; both patterns must match in full."""
        return self.times > 0 and bool(re.fullmatch(self.method, method) and re.fullmatch(self.path, path))

    def headers(self) -> dict[str, str]:
        """The headers of a status answer about retries."""
        headers: dict[str, str] = {}
        if self.should_retry is not None:
            headers["Stripe-Should-Retry"] = "true" if self.should_retry else "false"
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        return headers

    def body(self) -> dict[str, Any]:
        """The error a status answer carries."""
        kind = "api_error" if self.status >= 500 else "invalid_request_error"
        error: dict[str, Any] = {"message": f"Ordered failure with status {self.status}.", "type": kind}
        code = self.code or _CODES.get(self.status)
        if code:
            error["code"] = code
        return {"error": error}


class Faults:
    """The queue; the oldest fitting one strikes."""

    def __init__(self) -> None:
        self.waiting: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        """Queue one."""
        self.waiting.append(fault)
        return fault

    def clear(self) -> None:
        """Forget all."""
        self.waiting.clear()

    def strike(self, method: str, path: str) -> Fault | None:
        """The fault for this request, used up by one."""
        for fault in self.waiting:
            if fault.fits(method, path):
                fault.times -= 1
                if fault.times == 0:
                    self.waiting.remove(fault)
                return fault
        return None
