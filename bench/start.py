"""Start-up time: `python -m gateway serve` with a database of paying users, until the gate serves one of them.

    python bench/start.py [--users 100000] [--rounds 3]

Once with a sandbox Stripe and once with nothing listening, as after a power cut; then `gate serve`, from the database
and, with the database away, from its snapshot. Reported: seconds from the start to the first 200 that names a payer's
tier and to the public port's /health, the processor's share of that (all that means something on a busy machine), and
resident memory then.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web
from sqlalchemy import Connection, insert

from gateway.billing.accounts.recovery import RECOVERY
from gateway.billing.refresh.rederive import rules_digest
from gateway.catalog import parse
from gateway.sandbox.stripe import StripeSandbox
from gateway.store import Store, instance, keys
from gateway.store.schema import entitlements, refreshes, tier_changes

CHUNK = 5000
DATABASE, SNAPSHOT = "skpayments.db", "gate-cache"
GATE_SECRET = "bench-gate-secret-0123456789abcdef"
STRIPE_KEY, WEBHOOK_SECRET = "sk_test_bench000000000000", "whsec_bench00000000000000"
USER_KEY = "skp_bench-0123456789abcdef"
APPS: dict[str, Any] = {
    "apps": [{
        "id": "skai", "name": "SKAI", "hosts": ["chat.example.com"], "upstream": "http://app:8080",
        "identity": [{"kind": "user_key"}],
        "urls": {"success": "https://chat.example.com/", "cancel": "https://chat.example.com/"},
        "tiers": [
            {"id": "free", "name": "Free"},
            {"id": "pro", "name": "Pro", "prices": [{"price_id": "price_1"}]},
        ],
    }]
}  # fmt: skip


def user_id(number: int) -> str:
    return str(uuid.UUID(int=number + (1 << 64)))


def fill(store: Store, users: int) -> None:
    """`users` paying users with the rows of their first month, except their customers at Stripe."""
    now = int(time.time())

    def chunk(start: int, conn: Connection) -> None:
        ids = [(number, user_id(number)) for number in range(start, min(start + CHUNK, users))]
        conn.execute(insert(entitlements), [
            {"app_id": "skai", "user_id": each, "tier": "pro", "reason": "active", "source": "subscription",
             "status": "active", "customer_id": f"cus_{number}", "subscription_id": f"sub_{number}",
             "price_id": "price_1", "changes_to_come": "[]", "until_at": now + 9_999_999 if number % 10 == 0 else None,
             "ends_at": None, "concerns": "[]", "version": 1, "changed_at": now, "updated_at": now}
            for number, each in ids
        ])  # fmt: skip
        conn.execute(insert(refreshes), [
            {"app_id": "skai", "user_id": each, "wanted": 1, "done": 1, "due_at": None, "timer_at": None,
             "lease_owner": "", "lease_number": 1, "lease_until": 0, "attempts": 0, "last_error": ""}
            for _, each in ids
        ])  # fmt: skip
        conn.execute(insert(tier_changes), [
            {"change_id": uuid.uuid4().hex, "app_id": "skai", "user_id": each, "from_tier": None, "to_tier": "pro",
             "reason": "active", "at": now}
            for _, each in ids
        ])  # fmt: skip

    for start in range(0, users, CHUNK):
        store.write_now(partial(chunk, start))
    app = parse(json.dumps(APPS).encode()).apps["skai"]
    store.write_now(lambda conn: instance.put(conn, "rules:skai", rules_digest(app)))
    # The sandbox has none of these customers, so the store must not request them at the start.
    store.write_now(lambda conn: instance.put(conn, RECOVERY, "done"))
    users = max(users, 1)
    digest = hashlib.sha256(USER_KEY.encode()).digest()
    store.write_now(lambda conn: keys.add(conn, "user", digest, "skai", user_id(users // 2), "bench", now))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(port: int, path: str, headers: dict[str, str]) -> tuple[int, str]:
    """Status and tier; status 0 while nothing listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers.get("X-SK-Tier", "")
    except OSError:
        return 0, ""
    finally:
        connection.close()


def seconds_until(expected: tuple[int, str], started: float, port: int, path: str, headers: dict[str, str]) -> float:
    """Seconds since `started`; fails on a wrong answer, but not on a missing one."""
    while (found := get(port, path, headers)) != expected:
        assert found[0] in (0, 503), found
        assert time.monotonic() < started + 60, found
        time.sleep(0.005)
    return time.monotonic() - started


@contextmanager
def sandbox() -> Iterator[str]:
    """A sandbox Stripe in its own thread."""
    loop, address = asyncio.new_event_loop(), free_port()
    runner = web.AppRunner(StripeSandbox(secret_key=STRIPE_KEY, webhook_secret=WEBHOOK_SECRET).application())
    loop.run_until_complete(runner.setup())
    loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", address).start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{address}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(runner.cleanup())
        loop.close()


Measured = tuple[float, float, float, int]
"""Seconds to the gate's 200, to /health, processor seconds until then, and kilobytes of memory."""


def start_once(folder: Path, stripe_url: str, *command: str) -> Measured:
    """`skpay serve` or another command; without a public port the second value is that of the gate."""
    port, gate_port = free_port(), free_port()
    environ = {
        "PATH": os.environ["PATH"], "STRIPE_SECRET_KEY": STRIPE_KEY, "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "STRIPE_API_BASE": stripe_url,
        "GATE_SECRET": GATE_SECRET, "ADMIN_TOKEN": "bench-admin-0123456789abcdef-0123456789",
        "DATABASE_URL": f"sqlite:///{folder / DATABASE}", "APPS_FILE": str(folder / "apps.json"),
        "PUBLIC_URL": "https://pay.example.com", "HOST": "127.0.0.1", "PORT": str(port), "GATE_PORT": str(gate_port),
        "GATE_PROCESSES": "0", "GATE_CACHE": str(folder / SNAPSHOT),
    }  # fmt: skip
    headers = {
        "X-Sk-Gate": GATE_SECRET, "X-Forwarded-Host": "chat.example.com", "X-Forwarded-Uri": "/",
        "X-Forwarded-Method": "GET", "Authorization": f"Bearer {USER_KEY}",
    }  # fmt: skip
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", *(command or ("serve",))],
        env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        public = gate = seconds_until((200, "pro"), started, gate_port, "/gate?app=skai", headers)
        if not command:
            public = seconds_until((200, ""), started, port, "/health", {})
        ticks = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
        status = Path(f"/proc/{process.pid}/status").read_text()
        seconds = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
        while command and not (folder / SNAPSHOT).exists():  # it writes its first one
            time.sleep(0.05)
        return gate, public, seconds, int(status.split("VmRSS:")[1].split()[0])
    finally:
        process.terminate()
        process.wait(20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "apps.json").write_text(json.dumps(APPS))
        store = Store.open(f"sqlite:///{folder / DATABASE}")
        fill(store, options.users)
        store.close_now()
        with sandbox() as stripe_url:
            report("Stripe answers", options, [start_once(folder, stripe_url) for _ in range(options.rounds)])
        unused = f"http://127.0.0.1:{free_port()}"
        report("no vendor answers", options, [start_once(folder, unused) for _ in range(options.rounds)])
        gate = [start_once(folder, unused, "gate", "serve") for _ in range(options.rounds)]
        report("gate serve, from the database", options, gate)
        (folder / DATABASE).rename(folder / "away.db")
        gate = [start_once(folder, unused, "gate", "serve") for _ in range(options.rounds)]
        report("gate serve, from the snapshot", options, gate)
        print(f"{'its size':>20}: {(folder / SNAPSHOT).stat().st_size / 1e6:.0f} MB")


def report(what: str, options: argparse.Namespace, found: list[Measured]) -> None:
    print(f"{what}, {options.users} users:")
    names = ("gate answers", "public port answers", "processor")
    for name, values in zip(names, list(zip(*found, strict=True))[:3], strict=True):
        if name == "public port answers" and all(gate == public for gate, public, _, _ in found):
            continue  # it has none
        print(f"{name:>20}: {statistics.median(values):.2f} s ({', '.join(f'{each:.2f}' for each in values)})")
    print(f"{'resident memory':>20}: {found[-1][3] / 1024:.0f} MB")


if __name__ == "__main__":
    main()
