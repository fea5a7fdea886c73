"""Faults to order: what the next calls to a path shall suffer."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass

from aiohttp import web

from gateway.sandbox.litellm.refusal import database_down, proxy_error

KINDS = ("status", "slow", "rubbish", "truncated", "huge", "reset", "lost", "database")


@dataclass
class Fault:
    """The next `times` calls whose path starts with `path` fail.

    `status` answers `status` with `message`; `slow` waits `seconds` and goes on; `rubbish` is a proxy's HTML,
    `truncated` half a JSON, `huge` 2 MiB of it; `reset` cuts the connection before, `lost` after the work is done;
    `database` answers as LiteLLM does during an outage of its database.
    """

    kind: str
    path: str = "/"
    times: int = 1
    status: int = 500
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

    def add(self, fault: Fault) -> None:
        self.waiting.append(fault)

    def clear(self) -> None:
        self.waiting.clear()

    def take(self, path: str) -> Fault | None:
        """The fault that this call suffers, counted down."""
        for fault in self.waiting:
            if path.startswith(fault.path):
                fault.times -= 1
                if fault.times <= 0:
                    self.waiting.remove(fault)
                return fault
        return None


async def before(fault: Fault, request: web.Request) -> web.StreamResponse | None:
    """The answer that the fault gives instead of the work, or None if the work is done all the same."""
    if fault.kind == "slow":
        await asyncio.sleep(fault.seconds)
    elif fault.kind == "status":
        raise proxy_error(fault.status, fault.message, "fault")
    elif fault.kind == "database":
        raise database_down(request.path)
    elif fault.kind == "rubbish":
        return web.Response(status=502, text="<html><body>Bad Gateway</body></html>", content_type="text/html")
    elif fault.kind == "huge":
        return web.Response(body=b'{"user_id":"' + b"x" * (2 * 1024 * 1024) + b'"}', content_type="application/json")
    elif fault.kind == "reset":
        cut(request)
        return web.Response()
    elif fault.kind == "truncated":
        return await _half(request)
    return None


def cut(request: web.Request) -> None:
    """Close the connection without a word."""
    if request.transport is not None:
        request.transport.abort()


async def _half(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100", "Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"user_id": "u-al')
    cut(request)
    return response
