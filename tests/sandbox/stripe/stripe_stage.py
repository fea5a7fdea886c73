"""What the sandbox's tests work with: a client that speaks raw HTTP to it, a receiver of webhooks, and a catalog."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientSession, web
from stripe_openapi import Guard

from gateway.sandbox.stripe import StripeSandbox

Json = dict[str, Any]
SECRET = "whsec_a_secret_of_the_tests"
DAY = 86_400
KEY = "sk_test_1234567890abcdef"


@dataclass
class Receiver:
    """A webhook endpoint: keeps what it got, answers what it is told to."""

    url: str = ""
    got: list[tuple[bytes, str]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        status = self.answers.pop(0) if self.answers else 200
        self.got.append((body, request.headers["Stripe-Signature"]))
        headers = {"Location": "/elsewhere"} if 300 <= status < 400 else None
        return web.Response(status=status, headers=headers)


@dataclass
class Box:
    """The sandbox, running, with a client that speaks raw HTTP to it."""

    sandbox: StripeSandbox
    url: str
    http: ClientSession
    watch: Guard
    receiver: Receiver

    async def call(
        self, method: str, path: str, form: dict[str, Any] | None = None, **headers: str
    ) -> tuple[int, Json]:
        """Status and JSON; `form` has bracketed names; header names with `_` for `-`."""
        sent = {"Authorization": f"Bearer {KEY}"} | {name.replace("_", "-"): value for name, value in headers.items()}
        fields = {name: _text(value) for name, value in (form or {}).items()}
        where = {"data": fields} if method == "POST" else {"params": fields}
        async with self.http.request(method, self.url + path, headers=sent, **where) as response:
            answer: Json = await response.json()
            return response.status, answer

    async def ok(self, method: str, path: str, form: dict[str, Any] | None = None, **headers: str) -> Json:
        """The JSON of a call that must succeed."""
        status, answer = await self.call(method, path, form, **headers)
        assert status == 200, answer
        return answer

    async def click(self, url: str, **fields: str) -> tuple[int, str, str]:
        """POST a page's form: status, Location, text."""
        async with self.http.post(url, data=fields, allow_redirects=False) as response:
            return response.status, response.headers.get("Location", ""), await response.text()

    async def page(self, url: str) -> tuple[int, str]:
        """GET a page."""
        async with self.http.get(url, allow_redirects=False) as response:
            return response.status, await response.text()

    async def customer(self, **form: Any) -> Json:
        return await self.ok("POST", "/v1/customers", form)

    async def checkout(self, customer_id: str, price_id: str, **form: Any) -> Json:
        """An open session."""
        return await self.ok(
            "POST",
            "/v1/checkout/sessions",
            {
                "mode": "subscription",
                "customer": customer_id,
                "line_items[0][price]": price_id,
                "line_items[0][quantity]": 1,
                "success_url": "http://app.test/done?session={CHECKOUT_SESSION_ID}",
                "cancel_url": "http://app.test/left",
                **form,
            },
        )

    async def subscribed(self, price_id: str = "price_pro", **form: Any) -> Json:
        """A subscription bought by a fresh customer through the checkout page."""
        customer = await self.customer(email="ada@example.com")
        session = await self.checkout(customer["id"], price_id, **form)
        status, _, text = await self.click(session["url"], action="pay")
        assert status == 303, text
        paid = await self.ok("GET", f"/v1/checkout/sessions/{session['id']}")
        return await self.ok("GET", f"/v1/subscriptions/{paid['subscription']}")

    async def subscription(self, subscription_id: str) -> Json:
        return await self.ok("GET", f"/v1/subscriptions/{subscription_id}")

    def event_types(self) -> list[str]:
        """All that happened, oldest first."""
        return [event["type"] for event in self.sandbox.state.all("event")]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


async def until(true: Callable[[], bool], what: str, seconds: float = 5) -> None:
    """Poll with a deadline."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"never happened: {what}"
        await asyncio.sleep(0.01)


def seed(sandbox: StripeSandbox) -> None:
    """Two plans a month, one of them also a year."""
    pro = sandbox.add_product("Pro", product_id="prod_pro")
    sandbox.add_price(pro, 2000, lookup_key="pro_month", price_id="price_pro")
    sandbox.add_price(pro, 20000, interval="year", lookup_key="pro_year", price_id="price_pro_year")
    enterprise = sandbox.add_product("Enterprise", product_id="prod_enterprise")
    sandbox.add_price(enterprise, 5000, lookup_key="enterprise_month", price_id="price_123")


Start = Callable[..., Awaitable[Box]]
