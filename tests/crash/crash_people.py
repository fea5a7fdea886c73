"""Twenty people who buy, change plan, fail to pay, pay and leave, at random; and vendors that fail at random.

A subscription's first letter decides its fate: one that changes plan never fails to pay, so that what Stripe holds
names one tier whatever the order in which the service learned of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
from servers.crash_stage import CrashStage
from servers.running import SKAI_KEY, STRIPE_KEY

from gateway.sandbox.litellm import Fault

PEOPLE = 20
CHECKOUT_TRIES = 15
PLANS = {"pro": "skai_pro_month", "enterprise": "skai_enterprise_month"}
OVER = ("canceled", "incomplete_expired")
SUBSCRIPTIONS, WRITES = r"/v1/subscriptions|/v1/invoices", r"/v1/customers|/v1/checkout/sessions"
# A 429 that must not be tried again at once, one that may, one that says nothing; a 500 that is saved under its key …
STRIPE_FAULTS: tuple[dict[str, Any], ...] = (
    {"effect": "status", "status": 429, "path": SUBSCRIPTIONS},
    {"effect": "status", "status": 429, "path": SUBSCRIPTIONS, "code": "lock_timeout", "should_retry": True},
    {"effect": "status", "status": 429, "path": SUBSCRIPTIONS, "code": "lock_timeout", "should_retry": False},
    {"effect": "status", "status": 500, "path": SUBSCRIPTIONS, "method": "GET"},
    {"effect": "status", "status": 500, "path": WRITES, "method": "POST"},
    {"effect": "lost_reply", "path": WRITES, "method": "POST"},
    {"effect": "lost_reply", "path": SUBSCRIPTIONS, "method": "GET"},
    {"effect": "slow", "path": SUBSCRIPTIONS, "method": "GET", "seconds": 0.2},
    {"effect": "truncated", "path": SUBSCRIPTIONS, "method": "GET"},
    {"effect": "truncated", "path": WRITES, "method": "POST"},
    {"effect": "reset", "path": SUBSCRIPTIONS, "method": "GET"},
    {"effect": "reset", "path": WRITES, "method": "POST"},
)
LITELLM_FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "status", "status": 429},
    {"kind": "status", "status": 500},
    {"kind": "database"},
    {"kind": "lost"},
    {"kind": "truncated"},
    {"kind": "reset"},
    {"kind": "slow", "seconds": 0.2},
)


class People:
    """`buying`: the users at the checkout now; their own calls look like a refresh's from outside."""

    def __init__(self, stage: CrashStage, session: aiohttp.ClientSession, count: int) -> None:
        self.user_ids = [f"user-{number}" for number in range(count)]
        self.buying: dict[str, asyncio.Task[None]] = {}
        self.session = session
        self._stage = stage
        self._random = stage.random

    async def act(self, count: int) -> None:
        """So many of them do something."""
        free = [user_id for user_id in self.user_ids if user_id not in self.buying]
        for user_id in self._random.sample(free, min(count, len(free))):
            subscription = self.subscription(user_id)
            if subscription is None:
                task = self.buying[user_id] = asyncio.create_task(self._buy(user_id))
                task.add_done_callback(lambda _, user_id=user_id: self.buying.pop(user_id))
            else:
                await self._step(subscription)

    def subscription(self, user_id: str) -> dict[str, Any] | None:
        """The one that is not over; they never get two."""
        harness = self._stage.stripe.state
        for each in harness.all("subscription"):
            owner = harness.objects["customer"][each["customer"]]
            if owner["metadata"]["user_id"] == user_id and each["status"] not in OVER:
                return each
        return None

    def break_something(self) -> None:
        """One failure at Stripe and one at LiteLLM; what was ordered before and not met is taken back."""
        stripe, litellm = self._stage.stripe, self._stage.litellm
        stripe.faults.clear()
        litellm.faults.clear()
        stripe.fault(**self._random.choice(STRIPE_FAULTS))
        path = self._random.choice(("/customer", "/budget"))
        litellm.faults.add(Fault(path=path, **self._random.choice(LITELLM_FAULTS)))

    def clear_faults(self) -> None:
        self._stage.stripe.faults.clear()
        self._stage.litellm.faults.clear()
        self._stage.refuse_notices = 0

    async def leave_checkout(self) -> None:
        """Wait until nobody is buying."""
        if self.buying:
            await asyncio.wait(list(self.buying.values()), timeout=30)

    async def _buy(self, user_id: str) -> None:
        """By the service's own checkout; after a failure it is retried, and given up after a while."""
        body = {"user_id": user_id, "tier": self._random.choice(list(PLANS))}
        for _ in range(CHECKOUT_TRIES):
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                if await self._checkout(body):
                    return
            await asyncio.sleep(0.1)  # time for the next service process to start

    async def _checkout(self, body: dict[str, str]) -> bool:
        url, headers = f"http://127.0.0.1:{self._stage.port}/checkout/skai", {"Authorization": f"Bearer {SKAI_KEY}"}
        async with self.session.post(url, json=body, headers=headers) as answer:
            link = await answer.json()
        if answer.status != 200 or link["kind"] != "checkout":
            return False
        async with self.session.post(link["checkout_url"], data={"action": "pay"}, allow_redirects=False) as paid:
            return paid.status == 303

    async def _step(self, subscription: dict[str, Any]) -> None:
        stripe, subscription_id = self._stage.stripe, subscription["id"]
        leave: Callable[[], Any] = lambda: stripe.cancel(subscription_id)  # noqa: E731  # one of three names below
        if subscription["status"] == "past_due":
            pay: Callable[[], Any] = lambda: stripe.pay_open_invoice(subscription_id)  # noqa: E731  # likewise
            self._random.choice((pay, pay, leave))()
        elif self._random.random() < 0.25:
            leave()
        elif _fails_to_pay(subscription_id):
            stripe.fail_next_renewal(subscription_id)
        else:
            await self._change_plan(subscription)

    async def _change_plan(self, subscription: dict[str, Any]) -> None:
        item = subscription["items"]["data"][0]
        prices = self._stage.stripe.state.objects["price"]
        now = prices[item["price"]]["lookup_key"]
        other = next(each["id"] for each in prices.values() if each["lookup_key"] in set(PLANS.values()) - {now})
        form = {"items[0][id]": item["id"], "items[0][price]": other, "proration_behavior": "always_invoice"}
        url = f"{self._stage.stripe.public_url}/v1/subscriptions/{subscription['id']}"
        headers = {"Authorization": f"Bearer {STRIPE_KEY}"}
        async with self.session.post(url, data=form, headers=headers) as answer:
            assert answer.status == 200, await answer.text()


@contextlib.asynccontextmanager
async def crowd(stage: CrashStage, count: int = PEOPLE) -> AsyncIterator[People]:
    """So many people; those still at a checkout at the end of the block leave."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        people = People(stage, session, count)
        try:
            yield people
        finally:
            left = list(people.buying.values())
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)


def _fails_to_pay(subscription_id: str) -> bool:
    return ord(subscription_id[-1]) % 3 == 0
