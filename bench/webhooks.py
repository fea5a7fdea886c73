"""How fast a webhook is on disk: the whole service against an aiohttp handler that only appends and fsyncs one line.

    python bench/webhooks.py [--seconds 4] [--rounds 3] [--folder DIR]

Signed events of 3 kB, each new, about 20 customers whose refreshes run all the while against a sandbox Stripe and
LiteLLM; one process, SQLite in DIR, which must be on a real disk. One core for the server, the other for the load and
the vendors. Then, one event at a time: how long until the gate tags with the new tier and LiteLLM holds its budget.
A ratio means something only within one run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import uvloop
from aiohttp import web
from clients.stripe_sender import WEBHOOK_SECRET

from gateway.sandbox.litellm import LiteLLMSandbox
from gateway.sandbox.stripe import StripeSandbox

CONNECTIONS = (1, 16, 64)
CUSTOMERS = 20
SENDER = Path(__file__).parent / "clients" / "stripe_sender.py"
CHANGES = 40
# Connections → the least ratio to the bare handler.
MARKS = {1: 0.70, 16: 1.5, 64: 1.5}
MARK_P99_MS = 50.0
SESSION_SECRET = "0123456789abcdef0123456789abcdef"
KEYS = {
    "STRIPE_SECRET_KEY": "sk_test_0123456789abcdef", "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
    "LITELLM_KEY": "sk-0123456789abcdef", "GATE_SECRET": "fedcba9876543210fedcba9876543210",
    "ADMIN_TOKEN": "0f1e2d3c4b5a69788796a5b4c3d2e1f0", "SKAI_KEY": "00112233445566778899aabbccddeeff",
    "SESSION_SECRET": SESSION_SECRET,
}  # fmt: skip
MAX_BUDGETS = {"pro": 10, "top": 50}
APPS: dict[str, Any] = {
    "apps": [{
        "id": "skai", "name": "SKAI", "hosts": ["chat.example.com"], "upstream": "http://127.0.0.1:9",
        "api_key": "env:SKAI_KEY", "identity": [{"kind": "openwebui", "secret": "env:SESSION_SECRET"}],
        "litellm": {"mode": "customer"},
        "urls": {"success": "https://chat.example.com/", "cancel": "https://chat.example.com/"},
        "tiers": [
            {"id": "free", "name": "Free", "limits": {"max_budget": 1}},
            {"id": "pro", "name": "Pro", "limits": {"max_budget": MAX_BUDGETS["pro"]},
             "prices": [{"lookup_key": "pro"}]},
            {"id": "top", "name": "Top", "limits": {"max_budget": MAX_BUDGETS["top"]},
             "prices": [{"lookup_key": "top"}]},
        ],
    }]
}  # fmt: skip


async def serve_bare(port_file: Path, log: Path) -> None:
    """What no receiver of webhooks can do without: read the body, append it, fsync, answer."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def handle(request: web.Request) -> web.Response:
        os.write(descriptor, await request.read() + b"\n")
        os.fsync(descriptor)
        return web.json_response({"received": True})

    application = web.Application()
    application.router.add_post("/webhook/stripe", handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port_file.write_text(json.dumps({"port": runner.addresses[0][1]}) + "\n")  # noqa: ASYNC240  # before any request
    await asyncio.Event().wait()


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pinned(core: int, command: list[str]) -> list[str]:
    cores = os.cpu_count() or 1
    return ["taskset", "-c", str(core), *command] if cores > 1 and shutil.which("taskset") else command


@contextlib.contextmanager
def running(command: list[str], says: Path, log: Path, env: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Start a server on the first core; the first line in `says` that tells its port. Stopped by its own id."""
    with log.open("wb") as file:
        process = subprocess.Popen(pinned(0, [sys.executable, *command]), env={**os.environ, **env}, stderr=file)
    try:
        deadline = time.monotonic() + 20
        while True:
            lines = says.read_text().splitlines(keepends=True) if says.exists() else []
            told = [json.loads(line) for line in lines if line.endswith("\n") and line.startswith("{")]
            if started := [line for line in told if "port" in line and line.get("event", "started") == "started"]:
                break
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield {**started[0], "pid": process.pid}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(15)


@dataclass
class Stage:
    """The vendors in this process, and twenty people who have bought from the service."""

    stripe: StripeSandbox
    litellm: LiteLLMSandbox
    session: aiohttp.ClientSession
    port: int = 0
    gate_port: int = 0
    customer_ids: list[str] = field(default_factory=list)

    async def sell(self, number: int) -> None:
        headers = {"Authorization": f"Bearer {KEYS['SKAI_KEY']}"}
        url, wanted = f"http://127.0.0.1:{self.port}/checkout/skai", {"user_id": f"user-{number}", "tier": "pro"}
        async with self.session.post(url, json=wanted, headers=headers) as answer:
            sold = await answer.json()
            assert answer.status == 200, sold
        async with self.session.post(sold["checkout_url"], data={"action": "pay"}, allow_redirects=False) as paid:
            assert paid.status == 303

    async def is_tagged(self, user_id: str, tier: str) -> bool:
        token = jwt.encode({"id": user_id, "exp": int(time.time()) + 3600}, SESSION_SECRET, "HS256")
        headers = {"X-SK-Gate": KEYS["GATE_SECRET"], "X-Forwarded-Host": "chat.example.com", "X-Forwarded-Uri": "/",
                   "X-Forwarded-Method": "GET", "Cookie": f"token={token}"}  # fmt: skip
        async with self.session.get(f"http://127.0.0.1:{self.gate_port}/gate?app=skai", headers=headers) as answer:
            return answer.headers["X-SK-Tier"] == tier

    async def may_spend(self, user_id: str, max_budget: float) -> bool:
        state = self.litellm.state
        customer = state.customers.get(user_id)
        return customer is not None and state.budgets[customer.budget_id or ""].max_budget == max_budget


@contextlib.asynccontextmanager
async def vendors() -> AsyncIterator[tuple[Stage, dict[str, str]]]:
    """A stage without its service, and the environment that leads to the vendors."""
    stripe = StripeSandbox(secret_key=KEYS["STRIPE_SECRET_KEY"], webhook_secret=WEBHOOK_SECRET)
    for lookup_key, unit_amount in (("pro", 2000), ("top", 10000)):
        stripe.add_price(stripe.add_product(lookup_key), unit_amount, lookup_key=lookup_key, price_id=lookup_key)
    litellm = LiteLLMSandbox(KEYS["LITELLM_KEY"])
    urls = []
    async with contextlib.AsyncExitStack() as stack:
        for application in (stripe.application(), litellm.application()):
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            urls.append(f"http://127.0.0.1:{runner.addresses[0][1]}")
        stripe.public_url = urls[0]
        session = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        yield Stage(stripe, litellm, session), {**KEYS, "STRIPE_API_BASE": urls[0], "LITELLM_URL": urls[1]}


async def until(true: Callable[[], Awaitable[bool]], what: str) -> float:
    """Poll each millisecond; the instant at which it was seen to be true."""
    deadline = time.perf_counter() + 20
    while not await true():
        assert time.perf_counter() < deadline, f"never happened: {what}"
        await asyncio.sleep(0.001)
    return time.perf_counter()


async def load(
    server: dict[str, Any], connections: int, seconds: float, name: str, customer_ids: list[str]
) -> dict[str, float]:
    arguments = json.dumps([server["port"], connections, seconds, name, customer_ids])
    before = cpu_seconds(server["pid"])
    process = await asyncio.create_subprocess_exec(
        *pinned(1, [sys.executable, str(SENDER), arguments]), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), seconds + 30)
    measured: dict[str, float] = json.loads(output)
    assert not measured["refused"], measured
    return measured | {"cpu": 1e6 * (cpu_seconds(server["pid"]) - before) / (measured["rate"] * seconds)}


async def measure(stage: Stage, servers: dict[str, dict[str, Any]], options: argparse.Namespace) -> bool:
    """Alternate between the two, so that a busy moment of the machine hits both; print medians. True: marks kept."""
    print(
        f"{'connections':>12} {'server':>8} {'events/s':>9} {'p50 ms':>7} {'p99 ms':>7} {'CPU us':>7} {'of bare':>8} "
        f"{'mark':>5}"
    )
    kept = True
    for connections in CONNECTIONS:
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
        for number in range(options.rounds):
            for name, server in servers.items():
                unique = f"{connections}_{number}"
                rounds[name].append(await load(server, connections, options.seconds, unique, stage.customer_ids))
        medians = {
            name: {key: statistics.median(each[key] for each in found) for key in ("rate", "p50", "p99", "cpu")}
            for name, found in rounds.items()
        }
        for name, found in medians.items():
            ratio = found["rate"] / medians["bare"]["rate"]
            told = f"{ratio:>8.2f} {MARKS[connections]:>5.2f}" if name == "service" else ""
            times = f"{found['p50']:>7.2f} {found['p99']:>7.2f} {found['cpu']:>7.0f}"
            print(f"{connections:>12} {name:>8} {found['rate']:>9.0f} {times} {told}", flush=True)
        kept &= ratio >= MARKS[connections] and medians["service"]["p99"] < MARK_P99_MS
    return kept


async def change(stage: Stage, subscription: dict[str, Any], tier: str) -> None:
    """The customer has another price from now on; Stripe says so at once."""
    form = {"items[0][id]": subscription["items"]["data"][0]["id"], "items[0][price]": tier}
    headers = {"Authorization": f"Bearer {KEYS['STRIPE_SECRET_KEY']}"}
    url = f"{stage.stripe.public_url}/v1/subscriptions/{subscription['id']}"
    async with stage.session.post(url, data=form | {"proration_behavior": "none"}, headers=headers) as answer:
        assert answer.status == 200, await answer.text()


async def measure_effect(stage: Stage) -> None:
    """From the moment Stripe sends the event: until the gate tags with the new tier, until LiteLLM has its budget."""
    took: dict[str, list[float]] = {"the tag at the gate": [], "LiteLLM's answer": []}
    state = stage.stripe.state()
    subscription = state["subscription"][0]
    owner = next(each for each in state["customer"] if each["id"] == subscription["customer"])
    user_id = owner["metadata"]["user_id"]
    for number in range(CHANGES):
        tier = ("top", "pro")[number % 2]
        began = time.perf_counter()
        await change(stage, subscription, tier)
        instants = await asyncio.gather(
            until(partial(stage.is_tagged, user_id, tier), "the tag"),
            until(partial(stage.may_spend, user_id, MAX_BUDGETS[tier]), "the budget"),
        )
        for found, instant in zip(took.values(), instants, strict=True):
            found.append(1000 * (instant - began))
    for what, found in took.items():
        print(f"webhook to {what}: median {statistics.median(found):.0f} ms, slowest of {CHANGES} {max(found):.0f} ms")


async def compare(folder: Path, options: argparse.Namespace) -> bool:
    (folder / "apps.json").write_text(json.dumps(APPS))
    async with vendors() as (stage, environ):
        environ |= {
            "DATABASE_URL": f"sqlite:///{folder / 'skpayments.db'}", "APPS_FILE": str(folder / "apps.json"),
            "PUBLIC_URL": "https://pay.example.com", "HOST": "127.0.0.1", "PORT": "0", "GATE_PORT": "0",
        }  # fmt: skip
        log, port_file = folder / "service.log", folder / "bare.port"
        bare = [__file__, "--bare", json.dumps([str(port_file), str(folder / "bare.log")])]
        with (
            running(["-m", "gateway", "serve"], log, log, environ) as service,
            running(bare, port_file, folder / "bare.err", {}) as peer,
        ):
            stage.port, stage.gate_port = service["port"], service["gate_port"]
            stage.stripe.add_endpoint(f"http://127.0.0.1:{stage.port}/webhook/stripe", WEBHOOK_SECRET)
            await asyncio.gather(*(stage.sell(number) for number in range(CUSTOMERS)))
            stage.customer_ids = [customer["id"] for customer in stage.stripe.state()["customer"]]
            await measure_effect(stage)
            return await measure(stage, {"bare": peer, "service": service}, options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--folder", type=Path, default=Path(), help="on the disk to measure; a new folder is made in it"
    )
    parser.add_argument("--bare", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        uvloop.run(serve_bare(*map(Path, json.loads(options.bare))))
    else:
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            kept = uvloop.run(compare(Path(name).absolute(), options))
        print("every mark was met" if kept else "a mark was missed")


if __name__ == "__main__":
    main()
