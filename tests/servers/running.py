"""A whole SKPayments in this process, on ephemeral ports, with a sandbox Stripe and LiteLLM and a SQLite file.

async with running_application(tmp_path) as running:
    async with running.call("GET", "/status/skai/u1") as answer: ...
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import hashlib
import hmac
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from servers.database import create_database
from servers.traefik import until

from gateway.access import links
from gateway.app.application import Application
from gateway.sandbox.litellm import LiteLLMSandbox
from gateway.sandbox.stripe import StripeSandbox
from gateway.settings import Secret, read_settings

PUBLIC_HOST = "pay.example.com"
PUBLIC_URL = f"https://{PUBLIC_HOST}"
STRIPE_KEY, WEBHOOK_SECRET = "sk_test_5d2f0b6c9e714a0c", "whsec_5f3c8a1d7b6e4c20"
LITELLM_KEY, GATE_SECRET = "sk-litellm-77c1e0b4", "gate-3b1f6f0de1a24c0f9b6f7d25e8c4"
ADMIN_TOKEN, SKAI_KEY, BLOG_KEY = "admin-9f0a7c41d2be4e5583c6f1a07b", "skai-key-c4b1a2d3e4f5", "blog-key-0a9b8c7d6e5f"
SESSION_SECRET = "session-secret-of-32-bytes-or-more"
SECRETS = (STRIPE_KEY, WEBHOOK_SECRET, LITELLM_KEY, GATE_SECRET, ADMIN_TOKEN, SKAI_KEY, BLOG_KEY, SESSION_SECRET)

_DAY = {"budget_duration": "1d"}
APPS: dict[str, Any] = {
    "apps": [
        {
            "id": "skai", "name": "SKAI", "hosts": ["chat.example.com"], "upstream": "http://127.0.0.1:9",
            "api_key": "env:SKAI_KEY",
            "identity": [{"kind": "openwebui", "secret": "env:SESSION_SECRET"}, {"kind": "user_key"}],
            "litellm": {"mode": "customer"},
            "urls": {"success": "https://chat.example.com/?upgraded=1", "cancel": "https://chat.example.com/"},
            "grace": "7d", "anonymous": "tag",
            "tiers": [
                {"id": "free", "name": "Free", "limits": {"max_budget": 1, "rpm_limit": 10, **_DAY}},
                {"id": "pro", "name": "Pro", "limits": {"max_budget": 10, "rpm_limit": 60, **_DAY},
                 "features": ["images"], "prices": [{"lookup_key": "skai_pro_month"}]},
                {"id": "enterprise", "name": "Enterprise", "limits": {"max_budget": 50, "rpm_limit": 120, **_DAY},
                 "prices": [{"lookup_key": "skai_enterprise_month"}]},
                {"id": "sovereign", "name": "Sovereign", "internal": True, "limits": {}},
            ],
            "routes": [{"path": "/api/v1/images", "min_tier": "pro"}],
        },
        {
            "id": "blog", "name": "Blog", "hosts": ["blog.example.com"], "upstream": "http://127.0.0.1:9",
            "api_key": "env:BLOG_KEY", "identity": [{"kind": "user_key"}],
            "urls": {"success": "https://blog.example.com/", "cancel": "https://blog.example.com/"},
            "anonymous": "tag",
            "tiers": [
                {"id": "reader", "name": "Reader"},
                {"id": "patron", "name": "Patron", "prices": [{"lookup_key": "blog_patron_month"}]},
            ],
        },
    ]
}  # fmt: skip
PRICES = {"skai_pro_month": 2000, "skai_enterprise_month": 10000, "blog_patron_month": 500}


def environ_of(folder: Path, *, stripe_url: str, litellm_url: str, **more: str) -> dict[str, str]:
    """Everything that a complete environment holds; `more` is laid over it."""
    return {
        "STRIPE_SECRET_KEY": STRIPE_KEY, "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET, "STRIPE_API_BASE": stripe_url,
        "LITELLM_URL": litellm_url, "LITELLM_KEY": LITELLM_KEY, "GATE_SECRET": GATE_SECRET, "ADMIN_TOKEN": ADMIN_TOKEN,
        "SKAI_KEY": SKAI_KEY, "BLOG_KEY": BLOG_KEY, "SESSION_SECRET": SESSION_SECRET,
        "DATABASE_URL": f"sqlite:///{folder / 'skpayments.db'}", "APPS_FILE": str(folder / "apps.json"),
        "PUBLIC_URL": PUBLIC_URL, "HOST": "127.0.0.1", "PORT": "0", "GATE_PORT": "0",
        "GATE_PROCESSES": "0", **more,
    }  # fmt: skip


def write_apps(folder: Path, change: Callable[[dict[str, Any]], None] = lambda apps: None) -> None:
    """apps.json in `folder`, as APPS with this change, by rename, as editors and deployments do."""
    apps = copy.deepcopy(APPS)
    change(apps)
    new = folder / "apps.json.new"
    new.write_text(json.dumps(apps), encoding="utf-8")
    new.replace(folder / "apps.json")


def stripe_signature(body: bytes, secret: str = WEBHOOK_SECRET, at: float | None = None) -> str:
    """A `Stripe-Signature` header as Stripe makes it."""
    signed_at = int(time.time() if at is None else at)
    mac = hmac.new(secret.encode(), b"%d.%s" % (signed_at, body), hashlib.sha256)
    return f"t={signed_at},v1={mac.hexdigest()}"


def event(event_id: str, **more: Any) -> bytes:
    """The raw body of a snapshot event that concerns nobody."""
    obj = {"id": "prod_1", "object": "product"}
    return json.dumps(
        {"id": event_id, "object": "event", "type": "product.updated", "livemode": False, "data": {"object": obj}}
        | more
    ).encode()


@dataclass
class Running:
    """`stripe` and `litellm` are the sandboxes themselves, to look into and to break."""

    application: Application
    environ: dict[str, str]
    folder: Path
    stripe: StripeSandbox
    litellm: LiteLLMSandbox
    session: aiohttp.ClientSession
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.application.web_port}"

    @property
    def gate_url(self) -> str:
        return f"http://127.0.0.1:{self.application.gate_port}"

    def call(
        self, method: str, path: str, key: str | None = SKAI_KEY, **more: Any
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """A request to the public listener; `key` becomes the Bearer, None sends none."""
        headers = {**({"Authorization": f"Bearer {key}"} if key is not None else {}), **more.pop("headers", {})}
        return self.session.request(method, self.url + path, headers=headers, allow_redirects=False, **more)

    async def json(self, method: str, path: str, key: str | None = SKAI_KEY, **more: Any) -> tuple[int, Any]:
        """Status and JSON body."""
        async with self.call(method, path, key, **more) as answer:
            return answer.status, await answer.json(content_type=None)

    async def admin(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """The same as the operator."""
        return await self.json(method, path, ADMIN_TOKEN, **({} if body is None else {"json": body}))

    async def webhook(self, body: bytes, signature: str | None = None) -> tuple[int, Any]:
        """Deliver an event, signed correctly by default; '' sends no signature."""
        signed = stripe_signature(body) if signature is None else signature
        headers = {"Content-Type": "application/json", **({"Stripe-Signature": signed} if signed else {})}
        return await self.json("POST", "/webhook/stripe", None, data=body, headers=headers)

    async def gate(self, path: str = "/", app: str = "skai", host: str = "chat.example.com", **headers: str) -> Any:
        """What the gate answers Traefik: (status, headers, text). Header names have `_` for `-`."""
        sent = {
            "X-SK-Gate": GATE_SECRET, "X-Forwarded-Host": host, "X-Forwarded-Uri": path, "X-Forwarded-Method": "GET",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }  # fmt: skip
        url = f"{self.gate_url}/gate?app={app}"
        async with self.session.get(url, headers=sent, allow_redirects=False) as answer:
            return answer.status, dict(answer.headers), await answer.text()

    def link(
        self, user_id: str, app_id: str = "skai", *, now: float | None = None, key: str = GATE_SECRET, **more: str
    ) -> str:
        """The `t` of an upgrade link as the gate signs it; `more` is what else it says."""
        signed_at = int(time.time() if now is None else now)
        return links.sign(links.link_keys((Secret(key),))[0], app_id, user_id, signed_at, **more)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def served(application: web.Application) -> AsyncIterator[str]:
    """An aiohttp application on loopback; its address."""
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@dataclass
class Vendors:
    """A sandbox Stripe that sells PRICES, and a sandbox LiteLLM, both listening."""

    stripe: StripeSandbox
    litellm: LiteLLMSandbox
    stripe_url: str
    litellm_url: str


@contextlib.asynccontextmanager
async def vendors() -> AsyncIterator[Vendors]:
    """Both sandboxes, for as long as the block lasts."""
    stripe = StripeSandbox(secret_key=STRIPE_KEY, webhook_secret=WEBHOOK_SECRET)
    for lookup_key, unit_amount in PRICES.items():
        stripe.add_price(stripe.add_product(lookup_key), unit_amount, lookup_key=lookup_key)
    litellm = LiteLLMSandbox(LITELLM_KEY)
    async with served(stripe.application()) as stripe_url, served(litellm.application()) as litellm_url:
        stripe.public_url = stripe_url
        yield Vendors(stripe, litellm, stripe_url, litellm_url)


@contextlib.asynccontextmanager
async def running_application(
    folder: Path, *, clock: Callable[[], float] = time.time, **environ: str
) -> AsyncIterator[Running]:
    """SKPayments, ready, with its vendors; Stripe's webhooks reach it. `environ` is laid over the environment."""
    if not (folder / "apps.json").exists():
        write_apps(folder)
    if "DATABASE_URL" not in environ:
        create_database(folder / "skpayments.db")
    async with vendors() as around:
        full = environ_of(folder, stripe_url=around.stripe_url, litellm_url=around.litellm_url, **environ)
        application = Application(read_settings(full), full, clock=clock)
        await application.start()
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as session:
                running = Running(application, full, folder, around.stripe, around.litellm, session)
                around.stripe.add_endpoint(f"{running.url}/webhook/stripe", WEBHOOK_SECRET)

                async def ready() -> bool:
                    return not application.problems()

                await until(ready, "ready")
                yield running
        finally:
            await application.stop()


class Served:
    """`skpay serve` as a process of its own, as an operator starts it; `log` is what it wrote."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self.environ = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": os.environ.get("PYTHONPATH", ""), **environ}
        self.port, self.gate_port = int(environ["PORT"]), int(environ["GATE_PORT"])
        self.process: asyncio.subprocess.Process

    async def start(self) -> None:
        """Start it, without waiting for anything."""
        with (self.folder / "serve.log").open("ab") as file:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway", "serve", env=self.environ, stdout=file, stderr=file
            )

    async def until_up(self) -> None:
        """Wait until it answers; fails if it has ended."""

        async def up() -> bool:
            assert self.process.returncode is None, self.log
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                return False
            writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
            return answer.startswith(b"HTTP/1.1 200 ")

        await until(up, "skpay serve answers", 60)

    @property
    def log(self) -> str:
        return (self.folder / "serve.log").read_text(encoding="utf-8", errors="replace")

    async def ended(self, seconds: float = 30) -> int:
        """Its exit code, which must come within `seconds`."""
        return await asyncio.wait_for(self.process.wait(), seconds)

    async def stop(self) -> None:
        """End it, whatever it does."""
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


@contextlib.asynccontextmanager
async def serving(folder: Path, environ: Mapping[str, str]) -> AsyncIterator[Served]:
    """`skpay serve`, up, and gone after the block."""
    served_ = Served(folder, environ)
    await served_.start()
    try:
        await served_.until_up()
        yield served_
    finally:
        await served_.stop()
