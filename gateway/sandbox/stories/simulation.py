"""A simulation: an operator's own catalog run against fake vendors, in memory and on loopback.

Stripe's events are retained and delivered in the player's order, so that a story can be played in every order, with
duplicates, and in either shape of Stripe's objects. The clock is the sandbox's and moves only on request.
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from gateway.app.gate_follower import GateFollower
from gateway.billing.accounts.stripe_account import StripeAccount
from gateway.billing.checkout.prices import load_known_prices, resolve_prices
from gateway.billing.context import Billing
from gateway.billing.events.receive import receive
from gateway.billing.events.webhook_state import WebhookState
from gateway.billing.installed_apps import InstalledApps
from gateway.billing.work.due_work import DueWork
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.catalog.model import App, Catalog, Notify
from gateway.catalog.secret_ref import SecretRef
from gateway.litellm import LiteLLM
from gateway.sandbox.litellm import LiteLLMSandbox
from gateway.sandbox.stripe import StripeSandbox
from gateway.sandbox.stripe.deliveries import signature
from gateway.sandbox.stripe.old_api_version import as_version
from gateway.settings import Secret
from gateway.store import Store, notices, provisioning, refreshes
from gateway.store.gate_changes import GateChange
from gateway.stripe.client import Stripe
from gateway.stripe.ownership import signing_keys
from gateway.stripe.transport import Transport

_SETTLE_ROUNDS = 200
_STEP_SECONDS = 5


class _RecordingGate:
    """A gate that answers no request; `tiers`: (app id, user id) → tier id."""

    def __init__(self, tiers: dict[tuple[str, str], str]) -> None:
        self._tiers = tiers

    def set_tier(self, app_id: str, user_id: str, tier_id: str, changes_at: int | None) -> None:
        self._tiers[app_id, user_id] = tier_id

    def forget_user(self, app_id: str, user_id: str) -> None:
        self._tiers.pop((app_id, user_id), None)

    async def load_keys(self) -> None:
        """It verifies no keys."""

    async def load_all(self) -> None:
        """It was empty when it began to follow."""

    def begin(self, epoch: str, number: int) -> None:
        """It publishes nothing."""

    def applied(self, number: int, changes: Sequence[GateChange]) -> None:
        """It publishes nothing."""


class Simulation:
    """The use cases, assembled as in the service, without its ports."""

    def __init__(
        self, billing: Billing, stripe: StripeSandbox, litellm: LiteLLMSandbox, litellm_at: tuple[str, str]
    ) -> None:
        self.billing = billing
        self.stripe = stripe
        self.litellm = litellm
        self.litellm_url, self.litellm_key = litellm_at
        self.gate: dict[tuple[str, str], str] = {}
        self.notify_at: Notify | None = None
        self.received_notices: dict[str, dict[str, Any]] = {}
        self._due = DueWork(billing)
        self._events_taken = len(stripe.state.all("event"))

    async def follow_changes(self) -> None:
        """Keep `gate` up to date from now on."""
        follower = GateFollower(self.billing.work.store)
        await follower.begin(_RecordingGate(self.gate))
        self.billing.work.follow_changes = follower.catch_up

    def take_new_events(self) -> list[dict[str, Any]]:
        """The events since the last call, oldest first. The caller must deliver them, or they are lost."""
        events = self.stripe.state.all("event")
        new, self._events_taken = events[self._events_taken :], len(events)
        return list(new)

    async def deliver_events(self, events: Sequence[dict[str, Any]]) -> None:
        """Deliver these events, in this order, signed as Stripe signs."""
        secret = self.billing.webhooks.secrets[0].reveal()
        for event in events:
            body = json.dumps(as_version(event, event["api_version"])).encode()
            await receive(self.billing, body, signature(secret, body, self.billing.work.now()))

    async def settle(self) -> None:
        """Do all work that is due and advance the clock to deferred work, until none waits."""
        for _ in range(_SETTLE_ROUNDS):
            if await self.work_once():
                continue
            if not await self._waits():
                return
            self.stripe.advance(_STEP_SECONDS)
        raise AssertionError(f"work still waits after {_SETTLE_ROUNDS} rounds")

    async def work_once(self) -> int:
        """Do the work that is due now; returns the number of jobs."""
        return await self._due.run_due()

    async def _waits(self) -> bool:
        read = self.billing.work.store.read
        jobs, news = await read(provisioning.counts), await read(notices.counts)
        return bool(jobs["waiting"] or news["waiting"] or await read(refreshes.count_waiting))

    async def install(self, catalog: Catalog) -> None:
        """Continue with this catalog; its apps get their notices at the simulation's own address."""
        apps = {app_id: replace(app, notify=self.notify_at) for app_id, app in catalog.apps.items()}
        self.billing.apps.catalog = replace(catalog, apps=apps)
        await load_known_prices(self.billing)

    def application(self) -> web.Application:
        """The apps' backend: takes notices and keeps each by its id."""
        backends = web.Application()
        backends.router.add_post("/notices", self._receive_notice)
        return backends

    async def _receive_notice(self, request: web.Request) -> web.Response:
        notice = await request.json()
        earlier = self.received_notices.setdefault(request.headers["webhook-id"], notice)
        # A resend must be identical.
        return web.Response(status=200 if earlier == notice else 409)


@contextlib.asynccontextmanager
async def open_simulation(
    catalog: Catalog, *, public_url: str = "https://pay.example.com", litellm_at: tuple[str, str] | None = None
) -> AsyncIterator[Simulation]:
    """A simulation of `catalog`: its prices exist at the fake Stripe, its LiteLLM is empty. It leaves nothing behind.

    `litellm_at`: URL and key of an existing LiteLLM to use instead of the fake one.
    """
    key, master, webhook = (prefix + secrets.token_hex(24) for prefix in ("sk_test_", "sk-", "whsec_"))
    stripe = StripeSandbox(secret_key=key)
    litellm = LiteLLMSandbox(master, clock=lambda: float(stripe.state.time()))
    for app in catalog.apps.values():
        _seed(stripe, app)
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="skpayments-rehearsal-")))
        stripe.public_url = await _serve(stack, stripe.application())
        litellm_url, litellm_key = litellm_at or (await _serve(stack, litellm.application()), master)
        store = Store.open(f"sqlite:///{folder / 'rehearsal.db'}")
        stack.push_async_callback(store.close)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        secret = SecretRef("env", "REHEARSAL")
        notice_secret = (Secret("whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()),)
        billing = Billing(
            work=UnitOfWork(store, lambda: float(stripe.state.time())),
            # One attempt: the worker must retry an ordered failure, without a delay.
            stripe=Stripe(Transport(session, (Secret(key),), api_base=stripe.public_url, attempts=1)),
            litellm=LiteLLM(session, litellm_url, (Secret(litellm_key),), clock=lambda: float(stripe.state.time())),
            apps=InstalledApps(catalog, {secret: notice_secret}),
            account=StripeAccount(signing_keys((Secret(key),))),
            webhooks=WebhookState((Secret(webhook),)),
        )
        stage = Simulation(billing, stripe, litellm, (litellm_url, litellm_key))
        stage.notify_at = Notify(f"{await _serve(stack, stage.application())}/notices", secret)
        await stage.follow_changes()
        await stage.install(catalog)
        await resolve_prices(billing)
        yield stage


async def _serve(stack: contextlib.AsyncExitStack, application: web.Application) -> str:
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


def _seed(stripe: StripeSandbox, app: App) -> None:
    """Create the prices of apps.json; an amount that it does not state is invented, higher for a higher tier."""
    for tier in app.tiers:
        if not tier.prices:
            continue
        product = stripe.add_product(f"{app.name} {tier.name}")
        for price in tier.prices:
            stripe.add_price(
                product,
                price.unit_amount if price.unit_amount is not None else 10_000 * tier.rank,
                price.currency or "usd",
                price.interval or "month",
                price.interval_count or 1,
                lookup_key=price.lookup_key,
                price_id=price.price_id,
            )
