"""Faults to order: what the next calls shall suffer."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass

from aiohttp import web

from gateway.sandbox.cloudflare.refusal import Refusal

KINDS = ("status", "slow", "rubbish", "reset", "lost")


@dataclass
class Fault:
    """The next `times` calls with `method` and with `path` in their path ("" is any) fail.

    `status` answers `status` with an error of `code` and `message`; `slow` waits `seconds` and goes on; `rubbish` is
    the HTML of a broken edge; `reset` cuts the connection before the work is done, `lost` after it.
    """

    kind: str
    method: str = ""
    path: str = ""
    times: int = 1
    status: int = 500
    code: int = 10001
    message: str = "as ordered"
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}")

    def as_json(self) -> dict[str, object]:
        return asdict(self)


class Faults:
    """The faults still to come, in the order they were ordered."""

    def __init__(self) -> None:
        self.waiting: list[Fault] = []

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that this call suffers, counted down."""
        for fault in self.waiting:
            if fault.method in ("", method) and fault.path in path:
                fault.times -= 1
                if fault.times <= 0:
                    self.waiting.remove(fault)
                return fault
        return None


async def before(fault: Fault, request: web.Request) -> web.Response | None:
    """The answer that the fault gives instead of the work, or None if the work is done all the same."""
    if fault.kind == "slow":
        await asyncio.sleep(fault.seconds)
    elif fault.kind == "status":
        raise Refusal(fault.status, fault.code, fault.message)
    elif fault.kind == "rubbish":
        return web.Response(status=520, text="<html><body>Web server returned an unknown error</body></html>")
    elif fault.kind == "reset":
        cut(request)
        return web.Response()
    return None


def cut(request: web.Request) -> None:
    """Close the connection without a word."""
    if request.transport is not None:
        request.transport.abort()
