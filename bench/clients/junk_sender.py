"""Sends junk to the public port, each on a new connection, and keeps slow connections open.

    python junk_sender.py '[PORT, SECONDS, RATE, SLOW]'

RATE a second: webhooks that nobody signed or that are signed wrongly, calls without a key, paths that there are not,
bodies that are too large, bytes that are no HTTP. SLOW connections send a body a byte at a time. Prints how many were
answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time

import uvloop

_BODY = b'{"id": "evt_junk", "object": "event", "type": "customer.created", "x": "' + b"x" * 2900 + b'"}'
_HEAD = b"%s HTTP/1.1\r\nHost: pay.example.com\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
_WEBHOOK = _HEAD % (b"POST /webhook/stripe", len(_BODY))


def _junk(number: int) -> bytes:
    return (
        _WEBHOOK + b"\r\n" + _BODY,
        _WEBHOOK + b"Stripe-Signature: t=%d,v1=%064d\r\n\r\n" % (time.time(), number) + _BODY,
        _HEAD % (b"POST /checkout/skai", 20) + b'\r\n{"user_id": "mallory"}'[:22],
        b"GET /wp-login.php?n=%d HTTP/1.1\r\nHost: pay.example.com\r\n\r\n" % number,
        _HEAD % (b"POST /webhook/stripe", 1 << 30) + b"\r\n" + _BODY,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9 + b"\r\n\r\n",
    )[number % 6]


async def _once(port: int, number: int) -> bool:
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(_junk(number))
            answered = bool(await reader.read(100))
            writer.close()
            return answered
    return False


async def _slowly(port: int, until: float) -> None:
    while time.perf_counter() < until:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(_WEBHOOK + b"Stripe-Signature: t=%d,v1=%064d\r\n\r\n" % (time.time(), 1))
            while time.perf_counter() < until and not writer.is_closing():
                writer.write(b"{")
                await asyncio.sleep(0.1)
            writer.close()


async def send(port: int, seconds: float, rate: float, slow: int) -> None:
    began = time.perf_counter()
    holding = [asyncio.create_task(_slowly(port, began + seconds)) for _ in range(slow)]
    sent: list[asyncio.Task[bool]] = []
    while (now := time.perf_counter()) < began + seconds:
        sent += [asyncio.create_task(_once(port, len(sent))) for _ in range(int((now - began) * rate) - len(sent))]
        await asyncio.sleep(0.002)
    answered = await asyncio.gather(*sent)
    await asyncio.gather(*holding)
    print(json.dumps({"rate": len(sent) / seconds, "answered": sum(answered)}))


if __name__ == "__main__":
    uvloop.run(send(*json.loads(sys.argv[1])))
