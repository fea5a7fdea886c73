"""Delay of a tier change: from its commit, as another process reads it, to the gate's answer.

    python bench/visible.py [--changes 200] [--load 16]

A real `python -m gateway serve` with a sandbox Stripe; an operator's grants change the tier of one user after the
other. A third process looks at the database and asks the gate in turn, as fast as it can, so a figure is as exact as
one such turn takes (reported). `--load`: as many connections ask the gate all the while.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import socket
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from gateway.sandbox.stripe import StripeSandbox

GATE_SECRET = "bench-gate-secret-0123456789abcdef"
ADMIN_TOKEN = "bench-admin-0123456789abcdef-0123456789"
STRIPE_KEY, WEBHOOK_SECRET = "sk_test_bench000000000000", "whsec_bench00000000000000"
APPS: dict[str, Any] = {
    "apps": [{
        "id": "skai", "name": "SKAI", "hosts": ["chat.example.com"], "upstream": "http://app:8080",
        "identity": [{"kind": "user_key"}],
        "urls": {"success": "https://chat.example.com/", "cancel": "https://chat.example.com/"},
        "tiers": [{"id": "free", "name": "Free"}, {"id": "staff", "name": "Staff", "internal": True}],
    }]
}  # fmt: skip


def request(key: str) -> bytes:
    lines = [
        "GET /gate?app=skai HTTP/1.1", "Host: skpayments:8081", f"Authorization: Bearer {key}",
        "X-Forwarded-Host: chat.example.com", "X-Forwarded-Method: GET", "X-Forwarded-Uri: /",
        f"X-Sk-Gate: {GATE_SECRET}",
    ]  # fmt: skip
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def watch(database: str, gate_port: int) -> None:
    """For each "user key" line: when the tier was first in the database, when at the gate, and the longest poll."""
    gate = socket.create_connection(("127.0.0.1", gate_port))
    store = sqlite3.connect(f"file:{database}?mode=ro", uri=True, isolation_level=None)
    for line in sys.stdin:
        user_id, key = line.split()
        data = request(key)
        committed, longest = 0.0, 0.0
        print("watching", flush=True)
        last = time.monotonic()
        while True:
            tier = store.execute("SELECT tier FROM entitlements WHERE user_id = ?", (user_id,)).fetchone()
            now = time.monotonic()
            longest, last = max(longest, now - last), now
            if not committed and tier == ("staff",):
                committed = now
            gate.sendall(data)
            if b"X-SK-Tier: staff" in gate.recv(65_536):
                break
        known = time.monotonic()
        print(known - (committed or known), longest, flush=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def sandbox() -> AsyncIterator[str]:
    runner = web.AppRunner(StripeSandbox(secret_key=STRIPE_KEY, webhook_secret=WEBHOOK_SECRET).application())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@asynccontextmanager
async def serving(folder: Path, stripe_url: str) -> AsyncIterator[tuple[int, int]]:
    """`skpay serve`, up; the public port and the gate's."""
    (folder / "apps.json").write_text(json.dumps(APPS))
    port, gate_port = free_port(), free_port()
    environ = {
        "PATH": os.environ["PATH"], "STRIPE_SECRET_KEY": STRIPE_KEY, "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "STRIPE_API_BASE": stripe_url, "GATE_SECRET": GATE_SECRET, "ADMIN_TOKEN": ADMIN_TOKEN,
        "DATABASE_URL": f"sqlite:///{folder / 'skpayments.db'}", "APPS_FILE": str(folder / "apps.json"),
        "PUBLIC_URL": "https://pay.example.com", "HOST": "127.0.0.1", "PORT": str(port), "GATE_PORT": str(gate_port),
        "GATE_PROCESSES": "0",
    }  # fmt: skip
    with (folder / "serve.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", "serve", env=environ, stdout=log, stderr=log
        )
    try:
        for _ in range(600):
            await asyncio.sleep(0.05)
            if await asyncio.to_thread(is_up, port):
                break
        yield port, gate_port
    finally:
        process.terminate()
        await process.wait()


def is_up(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


async def ask_for_ever(gate_port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gate_port)
    while True:
        writer.write(request("skp_nobody"))
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.001)


async def measure(options: argparse.Namespace, folder: Path) -> list[tuple[float, float]]:
    found: list[tuple[float, float]] = []
    async with sandbox() as stripe_url, serving(folder, stripe_url) as (port, gate_port):
        watcher = await asyncio.create_subprocess_exec(
            sys.executable, __file__, "--watch", str(folder / "skpayments.db"), str(gate_port),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert watcher.stdin is not None
        assert watcher.stdout is not None
        load = [asyncio.create_task(ask_for_ever(gate_port)) for _ in range(options.load)]
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as session:
            for number in range(options.changes):
                user = {"app_id": "skai", "user_id": f"user-{number}"}
                async with session.post("/admin/keys", json=user) as made:
                    key = (await made.json())["key"]
                watcher.stdin.write(f"{user['user_id']} {key}\n".encode())
                assert await watcher.stdout.readline() == b"watching\n"
                async with session.post("/admin/grants", json={**user, "tier": "staff", "reason": "bench"}) as given:
                    assert given.status == 201, await given.text()
                seconds, turn = (await asyncio.wait_for(watcher.stdout.readline(), 30)).split()
                found.append((float(seconds), float(turn)))
        for task in load:
            task.cancel()
        watcher.stdin.close()
        await watcher.wait()
    return found


def main() -> None:
    if sys.argv[1:2] == ["--watch"]:
        watch(sys.argv[2], int(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=200)
    parser.add_argument("--load", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = asyncio.run(measure(options, Path(name)))
    delays = sorted(seconds * 1000 for seconds, _ in found)
    turns = statistics.median(turn * 1000 for _, turn in found)
    print(
        f"{len(delays)} changes: {statistics.median(delays):.2f} ms (median), {delays[len(delays) * 99 // 100]:.2f} ms"
        f" (99th percentile), {delays[-1]:.2f} ms (worst); the longest poll took {turns:.1f} ms (median)"
    )


if __name__ == "__main__":
    main()
