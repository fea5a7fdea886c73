"""Webhooks out: signed, sent in parallel in the background, retried, logged; pausable, reorderable, repeatable."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import random
import socket
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import aiohttp
from aiohttp.abc import ResolveResult
from aiohttp.resolver import ThreadedResolver

from gateway.log import fields
from gateway.sandbox.stripe.account_state import AccountState
from gateway.sandbox.stripe.old_api_version import as_version

Json = dict[str, Any]
Order = Literal["parallel", "in_order", "reversed", "shuffled"]
log = logging.getLogger(__name__)


def signature(secret: str, body: bytes, signed_at: int) -> str:
    """The Stripe-Signature header. The HMAC key is the whole secret, `whsec_` included."""
    message = str(signed_at).encode() + b"." + body
    digest = hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()
    return f"t={signed_at},v1={digest}"


class _Resolver(ThreadedResolver):
    """Not every system knows that `*.localhost` is this machine."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return await super().resolve("127.0.0.1" if host.endswith(".localhost") else host, port, family)


@dataclass
class Delivery:
    """One attempt to deliver an event to an endpoint; `status` None: no answer, see `error`."""

    event_id: str
    event_type: str
    endpoint_id: str
    url: str
    attempt: int
    status: int | None
    error: str | None
    at: float

    @property
    def succeeded(self) -> bool:
        """Only 2xx counts; a redirect is a failure."""
        return self.status is not None and 200 <= self.status < 300


class Deliverer:
    """Delivers events to the account's endpoints; `start` and `stop` it on a running loop."""

    def __init__(
        self, state: AccountState, *, retry_seconds: Sequence[float], timeout_seconds: float, wall: Callable[[], float]
    ) -> None:
        self.log: list[Delivery] = []
        self.paused = False
        self.copies = 1
        self._state = state
        self._retry_seconds = tuple(retry_seconds)
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._wall = wall
        self._waiting: list[tuple[Json, Json]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Deliver the events of before, and every new one."""
        connector = aiohttp.TCPConnector(resolver=_Resolver())
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar()
        )
        if not self.paused:
            self.resume()

    async def stop(self) -> None:
        """Cancel deliveries in progress."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def announce(self, event: Json) -> None:
        """Deliver the event to every enabled endpoint for its type."""
        for endpoint in self._state.all("webhook_endpoint"):
            if endpoint["status"] == "enabled" and {event["type"], "*"} & set(endpoint["enabled_events"]):
                event["pending_webhooks"] += 1
                self._waiting += [(event, endpoint)] * self.copies
        if not self.paused and self._session is not None:
            self.resume()

    def pause(self) -> None:
        """Keep what comes until `resume`."""
        self.paused = True

    def resume(self, order: Order = "parallel", *, copies: int = 1) -> None:
        """Send what waits: all at once as Stripe does, or one after the other in a given order, `copies` times each."""
        self.paused = False
        waiting, self._waiting = [each for each in self._waiting for _ in range(copies)], []
        if order == "parallel":
            for event, endpoint in waiting:
                self._spawn(self._deliver(event, endpoint))
            return
        if order == "reversed":
            waiting.reverse()
        elif order == "shuffled":
            random.shuffle(waiting)
        self._spawn(self._one_by_one(waiting))

    def resend(self, event_id: str) -> int:
        """Resend one event to every enabled endpoint for its type; returns their number."""
        event = self._state.find("event", event_id)
        wanting = [
            endpoint
            for endpoint in self._state.all("webhook_endpoint")
            if endpoint["status"] == "enabled" and {event["type"], "*"} & set(endpoint["enabled_events"])
        ]
        for endpoint in wanting:
            self._spawn(self._deliver(event, endpoint))
        return len(wanting)

    @property
    def idle(self) -> bool:
        """Whether no delivery is in progress or waiting."""
        return not self._tasks and not self._waiting

    def shown(self) -> Json:
        """For the control route."""
        return {
            "paused": self.paused,
            "waiting": [event["id"] for event, _ in self._waiting],
            "under_way": len(self._tasks),
            "log": [asdict(each) for each in self.log],
        }

    def _spawn(self, sending: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(sending)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _one_by_one(self, waiting: list[tuple[Json, Json]]) -> None:
        for event, endpoint in waiting:
            await self._deliver(event, endpoint)

    async def _deliver(self, event: Json, endpoint: Json) -> None:
        """Try until 2xx or until the retry calendar is used up; a deleted or disabled endpoint is left alone."""
        for attempt, pause_seconds in enumerate((*self._retry_seconds, None), start=1):
            if endpoint["status"] != "enabled" or endpoint["id"] not in self._state.objects["webhook_endpoint"]:
                return
            delivery = await self._send(event, endpoint, attempt)
            self.log.append(delivery)
            if delivery.succeeded:
                event["pending_webhooks"] = max(0, event["pending_webhooks"] - 1)
                return
            log.info(
                "sandbox_webhook_failed",
                extra=fields(event_id=event["id"], attempt=attempt, status=delivery.status, error=delivery.error),
            )
            if pause_seconds is not None:
                await asyncio.sleep(pause_seconds)

    async def _send(self, event: Json, endpoint: Json, attempt: int) -> Delivery:
        assert self._session is not None  # noqa: S101  (only started deliverers spawn tasks)
        rendered = as_version(event, endpoint["api_version"] or event["api_version"])
        body = json.dumps(rendered, indent=2, ensure_ascii=False).encode()
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": signature(endpoint["_secret"], body, int(self._wall())),
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }
        status: int | None = None
        error: str | None = None
        try:
            async with self._session.post(
                endpoint["url"], data=body, headers=headers, allow_redirects=False
            ) as response:
                status = response.status
                await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            error = str(exc) or type(exc).__name__
        return Delivery(
            event["id"], event["type"], endpoint["id"], endpoint["url"], attempt, status, error, self._wall()
        )
