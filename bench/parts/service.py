"""The whole service over SQLite, with a sandbox Stripe and LiteLLM, and twenty subscribers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import jwt
from aiohttp import web
from clients.stripe_sender import WEBHOOK_SECRET

from gateway.sandbox.litellm import LiteLLMSandbox
from gateway.sandbox.stripe import StripeSandbox
from parts.processes import Server, pinned

CUSTOMERS = 20
NOT_YET = Server(0, 0)
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


@contextlib.contextmanager
def telling(command: list[str], says: Path, log: Path, env: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Start a server on the first core; the first line in `says` with its port, and its pid. Stopped by that."""
    with log.open("wb") as file:
        process = subprocess.Popen(pinned(0, [sys.executable, *command]), env={**os.environ, **env}, stderr=file)
    try:
        deadline = time.monotonic() + 60
        while True:
            lines = says.read_text().splitlines(keepends=True) if says.exists() else []
            logged = [json.loads(line) for line in lines if line.endswith("\n") and line.startswith("{")]
            if started := [line for line in logged if "port" in line and line.get("event", "started") == "started"]:
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
    """The vendors in this process, the service's two ports, and its subscribers."""

    stripe: StripeSandbox
    litellm: LiteLLMSandbox
    session: aiohttp.ClientSession
    web: Server = NOT_YET
    gate: Server = NOT_YET
    customer_ids: list[str] = field(default_factory=list)

    async def sell(self, number: int) -> None:
        headers = {"Authorization": f"Bearer {KEYS['SKAI_KEY']}"}
        url, body = f"http://127.0.0.1:{self.web.port}/checkout/skai", {"user_id": f"user-{number}", "tier": "pro"}
        async with self.session.post(url, json=body, headers=headers) as answer:
            sold = await answer.json()
            assert answer.status == 200, sold
        async with self.session.post(sold["checkout_url"], data={"action": "pay"}, allow_redirects=False) as paid:
            assert paid.status == 303

    async def is_tagged(self, user_id: str, tier: str) -> bool:
        token = jwt.encode({"id": user_id, "exp": int(time.time()) + 3600}, SESSION_SECRET, "HS256")
        headers = {"X-SK-Gate": KEYS["GATE_SECRET"], "X-Forwarded-Host": "chat.example.com", "X-Forwarded-Uri": "/",
                   "X-Forwarded-Method": "GET", "Cookie": f"token={token}"}  # fmt: skip
        async with self.session.get(f"http://127.0.0.1:{self.gate.port}/gate?app=skai", headers=headers) as answer:
            return answer.headers["X-SK-Tier"] == tier

    async def may_spend(self, user_id: str, max_budget: float) -> bool:
        state = self.litellm.state
        customer = state.customers.get(user_id)
        return customer is not None and state.budgets[customer.budget_id or ""].max_budget == max_budget


@contextlib.asynccontextmanager
async def vendors() -> AsyncIterator[tuple[Stage, dict[str, str]]]:
    """A stage without its service, and an environment with the vendors' addresses."""
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


@contextlib.asynccontextmanager
async def service_running(folder: Path, *, gate_processes: int = 0) -> AsyncIterator[Stage]:
    """`folder` holds its database and must be on a real disk. On the first core; the vendors are in this process. With
    a gate process the first core is its alone, and the main process moves to the second one."""
    (folder / "apps.json").write_text(json.dumps(APPS))
    async with vendors() as (stage, environ):
        environ |= {
            "DATABASE_URL": f"sqlite:///{database(folder)}", "APPS_FILE": str(folder / "apps.json"),
            "PUBLIC_URL": "https://pay.example.com", "HOST": "127.0.0.1", "PORT": "0", "GATE_PORT": "0",
            "GATE_PROCESSES": str(gate_processes),
        }  # fmt: skip
        log = folder / "service.log"
        with telling(["-m", "gateway", "serve"], log, log, environ) as started:
            stage.web = Server(started["pid"], started["port"])
            stage.gate = Server(started["pid"], started["gate_port"])
            if gate_processes:
                stage.gate = Server(stage.web.children()[0], started["gate_port"])
                stage.web.move_to(1)
            stage.stripe.add_endpoint(f"http://127.0.0.1:{stage.web.port}/webhook/stripe", WEBHOOK_SECRET)
            await asyncio.gather(*(stage.sell(number) for number in range(CUSTOMERS)))
            stage.customer_ids = [customer["id"] for customer in stage.stripe.state.all("customer")]
            yield stage


def database(folder: Path) -> Path:
    return folder / "skpayments.db"


async def until(true: Callable[[], Awaitable[bool]], what: str) -> float:
    """Poll every millisecond; return the instant at which it was true."""
    deadline = time.perf_counter() + 20
    while not await true():
        assert time.perf_counter() < deadline, f"never happened: {what}"
        await asyncio.sleep(0.001)
    return time.perf_counter()


async def change(stage: Stage, subscription: dict[str, Any], tier: str) -> None:
    """Give the customer another price; Stripe sends the event at once."""
    form = {"items[0][id]": subscription["items"]["data"][0]["id"], "items[0][price]": tier}
    headers = {"Authorization": f"Bearer {KEYS['STRIPE_SECRET_KEY']}"}
    url = f"{stage.stripe.public_url}/v1/subscriptions/{subscription['id']}"
    async with stage.session.post(url, data=form | {"proration_behavior": "none"}, headers=headers) as answer:
        assert answer.status == 200, await answer.text()


def a_subscriber(stage: Stage) -> tuple[dict[str, Any], str]:
    """A subscription and its user id."""
    state = stage.stripe.state
    subscription = state.all("subscription")[0]
    return subscription, state.find("customer", subscription["customer"])["metadata"]["user_id"]
