"""A harness for the use cases: a sandbox Stripe and LiteLLM on loopback, a real SQLite file, a clock that we move.

async with open_harness(tmp_path) as harness:
    await harness.buy("u1", "pro")
    await harness.deliver()
    await harness.settle()
    assert await harness.tier("u1") == "pro"
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import aiohttp
from aiohttp.test_utils import TestServer
from servers.database import create_database
from sqlalchemy import Connection

from gateway.app.gate_follower import GateFollower
from gateway.billing.accounts.stripe_account import StripeAccount
from gateway.billing.checkout.checkout import CheckoutLink, open_checkout
from gateway.billing.checkout.price_choice import PriceChoice
from gateway.billing.checkout.prices import load_known_prices, resolve_prices
from gateway.billing.context import Billing
from gateway.billing.events.receive import receive
from gateway.billing.events.webhook_state import WebhookState
from gateway.billing.installed_apps import InstalledApps
from gateway.billing.refresh.refresh import LEASE_SECONDS
from gateway.billing.refresh.status import status
from gateway.billing.work.due_work import DueWork
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.catalog import parse
from gateway.litellm import LiteLLM
from gateway.sandbox.litellm import LiteLLMSandbox
from gateway.sandbox.litellm.faults import Fault as LiteLLMFault
from gateway.sandbox.stripe import StripeSandbox
from gateway.sandbox.stripe.deliveries import signature
from gateway.settings import Secret
from gateway.store import Store, alerts, customers, provisioning, refreshes
from gateway.store.gate_changes import GateChange
from gateway.store.refreshes import Lease
from gateway.stripe.client import Stripe
from gateway.stripe.ownership import signing_keys
from gateway.stripe.transport import Transport

Json = dict[str, Any]
T = TypeVar("T")

STRIPE_KEY, WEBHOOK_SECRET, LITELLM_KEY = "sk_test_1f0c7a", "whsec_b7d20e", "sk-test-5a9c"
ADMIN_TOKEN = "admin-test-61f2"
DAY = 86_400
START = 1_800_000_000
OWNER = "the harness"

_DAY = {"budget_duration": "1d"}
APPS: Json = {
    "apps": [
        {
            "id": "skai", "name": "SKAI", "hosts": ["chat.example.com"], "upstream": "http://127.0.0.1:9",
            "identity": [{"kind": "user_key"}], "litellm": {"mode": "customer", "mixed_modes": True}, "grace": "7d",
            "urls": {"success": "https://chat.example.com/?upgraded=1", "cancel": "https://chat.example.com/"},
            "tiers": [
                {"id": "free", "name": "Free", "limits": {"max_budget": 1, "tpm_limit": 1000, "rpm_limit": 10, **_DAY}},
                {"id": "pro", "name": "Pro", "features": ["images"],
                 "prices": [{"lookup_key": "skai_pro_month", "unit_amount": 2000, "currency": "usd",
                             "interval": "month"},
                            {"lookup_key": "skai_pro_year", "unit_amount": 20000, "currency": "usd",
                             "interval": "year"}],
                 "limits": {"max_budget": 10, "tpm_limit": 5000, "rpm_limit": 60, **_DAY}},
                {"id": "enterprise", "name": "Enterprise", "features": ["images", "sso"],
                 "prices": [{"price_id": "price_123"}],
                 "limits": {"max_budget": 50, "tpm_limit": 9000, "rpm_limit": 120, **_DAY}},
                {"id": "sovereign", "name": "Sovereign", "internal": True,
                 "limits": {"max_budget": None, "tpm_limit": None, "rpm_limit": None}},
            ],
        },
        {
            "id": "studio", "name": "Studio", "hosts": ["studio.example.com"], "upstream": "http://127.0.0.1:9",
            "identity": [{"kind": "user_key"}], "grace": "3d",
            "litellm": {"mode": "internal_user", "mixed_modes": True},
            "urls": {"success": "https://studio.example.com/paid", "cancel": "https://studio.example.com/"},
            "tiers": [
                {"id": "basic", "name": "Basic", "limits": {"max_budget": 2, "tpm_limit": 100, "rpm_limit": 5, **_DAY}},
                {"id": "plus", "name": "Plus",
                 "prices": [{"lookup_key": "studio_plus", "unit_amount": 900, "currency": "usd", "interval": "month"}],
                 "limits": {"max_budget": 20, "tpm_limit": 700, "rpm_limit": 70, **_DAY}},
            ],
        },
    ]
}  # fmt: skip


@dataclass
class Clock:
    """A manual clock. `jump` sets the wall clock: real time and the monotonic clock do not move."""

    now: float = START
    jumped: float = 0

    def __call__(self) -> float:
        return self.now

    def true(self) -> float:
        """Real time, as Stripe's clock and the monotonic clock show it."""
        return self.now - self.jumped

    def jump(self, seconds: float) -> None:
        self.now += seconds
        self.jumped += seconds


@dataclass
class RecordingGate:
    """A gate that answers no request."""

    updates: list[tuple[str, str, str]]
    forgotten: list[tuple[str, str]]

    def begin(self, epoch: str, number: int) -> None:
        pass

    def applied(self, number: int, changes: Sequence[GateChange]) -> None:
        pass

    def set_tier(self, app_id: str, user_id: str, tier_id: str, changes_at: int | None) -> None:
        self.updates.append((app_id, user_id, tier_id))

    def forget_user(self, app_id: str, user_id: str) -> None:
        self.forgotten.append((app_id, user_id))

    async def load_keys(self) -> None:
        pass

    async def load_all(self) -> None:
        pass


@dataclass
class Harness:
    """One SKPayments without its ports. `gate_updates`: (app id, user id, tier id), the oldest first.

    `forgotten_in_gate`: users whose entitlement was deleted.
    """

    folder: Path
    http: aiohttp.ClientSession
    clock: Clock
    stripe: StripeSandbox
    stripe_url: str
    litellm: LiteLLMSandbox
    litellm_url: str
    apps: Json
    store: Store = field(init=False)
    billing: Billing = field(init=False)
    due: DueWork = field(init=False)
    follower: GateFollower = field(init=False)
    gate_updates: list[tuple[str, str, str]] = field(default_factory=list)
    forgotten_in_gate: list[tuple[str, str]] = field(default_factory=list)
    _delivered: int = 0

    async def open(self) -> None:
        """Open the store and wire the use cases as `gateway.app` does. Earlier leases are released."""
        create_database(self.folder / "harness.db")
        self.store = Store.open(f"sqlite:///{self.folder / 'harness.db'}", clock=self.clock)
        self.follower = GateFollower(self.store)
        work = UnitOfWork(
            self.store,
            self.clock,
            follow_changes=self.follower.catch_up,
            monotonic=self.clock.true,
        )
        self.billing = Billing(
            work=work,
            stripe=Stripe(Transport(self.http, (Secret(STRIPE_KEY),), api_base=self.stripe_url, clock=self.clock)),
            litellm=LiteLLM(self.http, self.litellm_url, (Secret(LITELLM_KEY),), clock=self.clock),
            apps=InstalledApps(parse(json.dumps(self.apps).encode())),
            account=StripeAccount(signing_keys((Secret(ADMIN_TOKEN),))),
            webhooks=WebhookState((Secret(WEBHOOK_SECRET),)),
        )
        await self.follower.begin(RecordingGate(self.gate_updates, self.forgotten_in_gate))
        self.due = DueWork(self.billing)
        await load_known_prices(self.billing)
        await self.store.write(refreshes.release_all)

    async def restart(self) -> None:
        """Restart as after a kill: only the database is kept."""
        await self.store.close()
        await self.open()

    async def edit(self, change: Callable[[Json], object]) -> None:
        """Edit apps.json while running; `change` gets the whole document."""
        self.apps = copy.deepcopy(self.apps)
        change(self.apps)
        self.billing.apps.catalog = parse(json.dumps(self.apps).encode())
        await load_known_prices(self.billing)

    def move(self, seconds: float) -> None:
        """Advance the time, at Stripe too; its timers have run when this returns."""
        self.clock.now += seconds
        self.stripe.advance(0)

    # What Stripe sends.

    def events(self) -> list[Json]:
        """The events since the last call, oldest first. Deliver them, or they are lost."""
        events = self.stripe.state.all("event")
        new, self._delivered = events[self._delivered :], len(events)
        return new

    async def post(self, event: Json | bytes) -> bool:
        """Sign and receive one event, or any bytes."""
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        return await receive(self.billing, body, signature(WEBHOOK_SECRET, body, int(self.clock.now)))

    async def deliver(self, events: Sequence[Json] | None = None) -> None:
        """Deliver these events, or all that are new, in the order given."""
        for event in self.events() if events is None else events:
            await self.post(event)

    # What the worker does, step by step.

    async def settle(self) -> None:
        """Do all the work that is due now, until none is."""
        for _ in range(50):
            if not await self.due.run_due():
                return
        raise AssertionError("work is still due after 50 rounds")

    async def lease(self, owner: str = OWNER) -> list[Lease]:
        now = self.billing.work.now()
        return await self.store.write(lambda conn: refreshes.lease(conn, owner, now, LEASE_SECONDS, 8))

    async def refresh(self) -> int:
        return await self.due.refresh()

    async def provision(self) -> int:
        return await self.due.provision()

    async def want(self, user_id: str, app_id: str = "skai") -> None:
        """Request a refresh."""
        await self.billing.work.write(lambda tx: tx.want_refresh(app_id, user_id))

    async def catch_up(self) -> None:
        """Deliver all new events and do the work that follows."""
        await self.deliver()
        await self.settle()

    # What people do.

    async def checkout(
        self,
        user_id: str,
        tier: str = "pro",
        interval: str | None = None,
        app_id: str = "skai",
        email: str | None = None,
    ) -> CheckoutLink:
        return await open_checkout(self.billing, app_id, user_id, email, tier, PriceChoice(interval=interval))

    async def click(self, url: str, **form: str) -> int:
        """Press a button of a page at Stripe; returns the HTTP status."""
        async with self.http.post(url, data=form, allow_redirects=False) as response:
            return response.status

    async def buy(self, user_id: str, tier: str = "pro", interval: str | None = None, app_id: str = "skai") -> str:
        """Go through a checkout and pay; the subscription's id. Nothing of it is delivered yet."""
        link = await self.checkout(user_id, tier, interval, app_id)
        assert link.kind == "checkout", link
        assert await self.click(link.url, action="pay") == 303
        return str(self.stripe.state.all("subscription")[-1]["id"])

    async def subscribed(self, user_id: str, tier: str = "pro", app_id: str = "skai") -> str:
        """Buy, and settle; the subscription's id."""
        subscription_id = await self.buy(user_id, tier, app_id=app_id)
        await self.catch_up()
        assert await self.tier(user_id, app_id) == tier
        return subscription_id

    # What there is to see.

    async def status(self, user_id: str, app_id: str = "skai") -> Json:
        return await status(self.billing.work, self.billing.apps, app_id, user_id)

    async def tier(self, user_id: str, app_id: str = "skai") -> str:
        return str((await self.status(user_id, app_id))["tier"])

    async def query(self, query: Callable[[Connection], T]) -> T:
        return await self.store.read(query)

    async def customer_id(self, user_id: str, app_id: str = "skai") -> str:
        return (await self.query(lambda conn: customers.of_user(conn, app_id, user_id)))[0].customer_id

    async def alerts(self) -> set[tuple[str, str]]:
        """(kind, subject) of every open alert."""
        return {(each.kind, each.subject) for each in await self.query(alerts.live)}

    async def provisioning_job(self, user_id: str, app_id: str = "skai") -> provisioning.ProvisioningJob | None:
        return await self.query(lambda conn: provisioning.get(conn, app_id, user_id))

    def requests(self, method: str, path: str) -> list[Any]:
        """The requests that Stripe's API got, by method and the start of the path."""
        return [
            request for request in self.stripe.api.log if request.method == method and request.path.startswith(path)
        ]

    def forget_requests(self) -> None:
        self.stripe.api.log.clear()
        self.litellm.requests.clear()

    def litellm_calls(self) -> Counter[str]:
        """How often each route of LiteLLM was called."""
        return Counter(str(entry["path"]) for entry in self.litellm.requests)

    def litellm_fault(self, kind: str, path: str = "/", **more: Any) -> None:
        self.litellm.faults.add(LiteLLMFault(kind, path, **more))

    def limits(self, litellm_id: str) -> Json | None:
        """The limits of a customer at LiteLLM, from the shared budget; None if it has none."""
        customer = self.litellm.state.customers.get(litellm_id)
        if customer is None:
            return None
        budget = self.litellm.state.budgets[customer.budget_id or ""]
        return {"budget_id": customer.budget_id, "max_budget": budget.max_budget, "rpm_limit": budget.rpm_limit}

    def user_limits(self, litellm_id: str) -> Json | None:
        """The limits of an internal user at LiteLLM."""
        user = self.litellm.state.users.get(litellm_id)
        return None if user is None else {"max_budget": user.max_budget, "rpm_limit": user.rpm_limit}


async def until(true: Callable[[], bool], what: str, seconds: float = 10) -> None:
    """Poll with a deadline."""
    deadline = monotonic() + seconds
    while not true():
        assert monotonic() < deadline, f"never happened: {what}"
        await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def open_harness(folder: Path, apps: Json | None = None, **stripe_options: Any) -> AsyncIterator[Harness]:
    """A harness with the prices of `APPS` at Stripe, resolved as a start resolves them."""
    clock = Clock()
    stripe = StripeSandbox(secret_key=STRIPE_KEY, webhook_secret=WEBHOOK_SECRET, now=clock.true, **stripe_options)
    litellm = LiteLLMSandbox(LITELLM_KEY, clock=clock)
    async with (
        TestServer(stripe.application()) as stripe_server,
        TestServer(litellm.application()) as litellm_server,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
    ):
        stripe.public_url = str(stripe_server.make_url("")).rstrip("/")
        _seed(stripe)
        litellm_url = str(litellm_server.make_url("")).rstrip("/")
        harness = Harness(folder, http, clock, stripe, stripe.public_url, litellm, litellm_url, apps or APPS)
        await harness.open()
        try:
            await resolve_prices(harness.billing)
            harness.events()
            harness.forget_requests()
            yield harness
        finally:
            await harness.store.close()


def _seed(stripe: StripeSandbox) -> None:
    pro = stripe.add_product("SKAI Pro", product_id="prod_skai_pro")
    stripe.add_price(pro, 2000, lookup_key="skai_pro_month", price_id="price_pro_month")
    stripe.add_price(pro, 20000, interval="year", lookup_key="skai_pro_year", price_id="price_pro_year")
    enterprise = stripe.add_product("SKAI Enterprise", product_id="prod_skai_enterprise")
    stripe.add_price(enterprise, 10000, price_id="price_123")
    plus = stripe.add_product("Studio Plus", product_id="prod_studio_plus")
    stripe.add_price(plus, 900, lookup_key="studio_plus", price_id="price_plus")
