"""Sends signed events as fast as they are answered, over raw sockets: HTTP clients are too slow for it.

    python stripe_sender.py '[PORT, CONNECTIONS, SECONDS, NAME, [CUSTOMER_ID, …], RATE]'

Prints what it measured as JSON. NAME makes the events' ids unlike those of another run. With RATE at most so many a
second.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import uvloop

WEBHOOK_SECRET = "whsec_0123456789abcdef0123456789abcdef"
EVENT_BYTES = 3000


def signed(event_id: str, customer_id: str) -> bytes:
    """A whole HTTP request with an event of 3 kB about this customer, in one line, signed now."""
    subject = {"id": "sub_x", "object": "subscription", "customer": customer_id, "description": ""}
    event = {"id": event_id, "object": "event", "type": "customer.subscription.updated", "livemode": False,
             "api_version": "2026-10-28.endive", "data": {"object": subject}}  # fmt: skip
    subject["description"] = "x" * (EVENT_BYTES - len(json.dumps(event)))
    body, at = json.dumps(event).encode(), int(time.time())
    mac = hmac.new(WEBHOOK_SECRET.encode(), b"%d.%s" % (at, body), hashlib.sha256).hexdigest()
    head = (
        "POST /webhook/stripe HTTP/1.1\r\nHost: pay.example.com\r\nUser-Agent: Stripe/1.0\r\nAccept: */*\r\n"
        f"Content-Type: application/json; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
        f"Stripe-Signature: t={at},v1={mac}\r\n\r\n"
    )
    return head.encode() + body


@dataclass
class Load:
    """Shared by the connections: when to stop, and the time of each answer."""

    name: str
    customer_ids: list[str]
    rate: float | None
    began: float
    until: float
    sent: int = 0
    took: list[float] = field(default_factory=list)
    refused: int = 0

    def next_request(self) -> bytes:
        self.sent += 1
        return signed(f"evt_{self.name}_{self.sent}", self.customer_ids[self.sent % len(self.customer_ids)])


class Connection(asyncio.Protocol):
    """Sends the next event when the last one was answered."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.received = b""
        self.at = 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        load = self.load
        early = load.began + load.sent / load.rate - time.perf_counter() if load.rate else 0
        request = load.next_request()
        if early > 0:
            asyncio.get_running_loop().call_later(early, self.write, request)
        else:
            self.write(request)

    def write(self, request: bytes) -> None:
        self.at = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found or len(body) < int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]):
            return
        now = time.perf_counter()
        self.load.took.append(now - self.at)
        self.load.refused += not self.received.startswith(b"HTTP/1.1 200")
        self.received = b""
        if now < self.load.until:
            self.send()
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.over.set_result(None)


async def put_load(
    port: int, connections: int, seconds: float, name: str, customer_ids: list[str], rate: float | None = None
) -> None:
    """Events a second, how many were not answered 200, and the times of an answer in milliseconds."""
    began, loop = time.perf_counter(), asyncio.get_running_loop()
    load = Load(name, customer_ids, rate, began, began + seconds)
    opened = [await loop.create_connection(lambda: Connection(load), "127.0.0.1", port) for _ in range(connections)]
    await asyncio.gather(*(protocol.over for _, protocol in opened))
    took = sorted(load.took)
    print(json.dumps({
        "rate": len(took) / (time.perf_counter() - began), "refused": load.refused,
        "p50": 1000 * took[len(took) // 2], "p99": 1000 * took[int(len(took) * 0.99)],
    }))  # fmt: skip


if __name__ == "__main__":
    uvloop.run(put_load(*json.loads(sys.argv[1])))
