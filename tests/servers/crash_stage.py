"""The real service as a process that can be killed at any instant, between vendors and an app that live in this loop.

async with opened_crash_stage(tmp_path) as stage:
    await stage.start()
    stage.aim("litellm sent")
    ... stage.kill() is called from inside the vendor's handler; await stage.dead()
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from aiohttp import web
from servers.running import (
    LITELLM_KEY,
    PRICES,
    STRIPE_KEY,
    WEBHOOK_SECRET,
    environ_of,
    served,
    write_apps,
)
from standardwebhooks import Webhook

from gateway.sandbox.litellm import LiteLLMSandbox
from gateway.sandbox.stripe import StripeSandbox
from gateway.sandbox.stripe.deliveries import Delivery

NOTIFY_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDGHmqGfDJ/rQ="
STAGES = ("inbox", "leased", "fetched", "committed", "litellm sent", "notice sent")
START_SECONDS = 60.0
WARM = Path(__file__).with_name("warm_service.py")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Notice:
    """One POST of a notice as the app got it."""

    webhook_id: str
    body: bytes

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)["data"]
        return found


@dataclass
class Vendors:
    """What the vendors saw, in the terms of the service's own rows, which are read at that moment.

    Of this life of the service: `fetched`, user → number of the lease whose subscriptions Stripe has answered; `told`,
    user → version of the provisioning job that LiteLLM was called for; `noticed`, webhook-ids. Of all lives: `notices`.
    """

    fetched: dict[str, int] = field(default_factory=dict)
    provisioned: dict[str, int] = field(default_factory=dict)
    noticed: set[str] = field(default_factory=set)
    notices: list[Notice] = field(default_factory=list)

    def begin_life(self) -> None:
        self.fetched.clear()
        self.provisioned.clear()
        self.noticed.clear()


class _WriteResult(list[Delivery]):
    """The sandbox's log of deliveries, which says when one is added."""

    def __init__(self, received: Callable[[Delivery], None]) -> None:
        super().__init__()
        self._on_delivery = received

    def append(self, delivery: Delivery) -> None:
        super().append(delivery)
        self._on_delivery(delivery)


class CrashStage:
    """`acknowledged`: every event that Stripe saw answered 200 so far. `log`: the service's lines, all its lives'."""

    def __init__(self, folder: Path, random: Random, broken_guarantee: str) -> None:
        self.random = random
        self._broken_guarantee = broken_guarantee
        self.database = folder / "skpayments.db"
        self.stripe = StripeSandbox(
            secret_key=STRIPE_KEY,
            webhook_secret=WEBHOOK_SECRET,
            # Stripe goes on for three days; here it is a matter of seconds.
            retry_seconds=(0.05, 0.1, 0.2, *[0.3] * 2000),
        )
        for lookup_key, unit_amount in PRICES.items():
            self.stripe.add_price(self.stripe.add_product(lookup_key), unit_amount, lookup_key=lookup_key)
        self.stripe.deliveries.log = _WriteResult(self._delivered)
        self.litellm = LiteLLMSandbox(LITELLM_KEY)
        self.saw = Vendors()
        self.acknowledged: set[str] = set()
        self.acknowledged_at_kill: frozenset[str] = frozenset()
        self.log: list[dict[str, Any]] = []
        self.environ: dict[str, str] = {}
        self.port = self.gate_port = self.pid = 0
        self.refuse_notices = 0
        self._aimed_at: str | None = None
        self._changes_before: Any = None
        self._started: asyncio.Future[dict[str, Any]] | None = None
        self._ended: asyncio.Future[int] | None = None
        self._warm: asyncio.subprocess.Process | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._endpoint: dict[str, Any] | None = None

    # What happens to the process.

    async def start(self, *, cold: bool = False) -> None:
        """Start it and wait until it serves; `cold` runs the command itself, else a fork of one that has imported."""
        loop = asyncio.get_running_loop()
        self._started, self._ended = loop.create_future(), loop.create_future()
        self.saw.begin_life()
        if cold:
            command = [sys.executable, "-m", "gateway", "serve"]
            process = await asyncio.create_subprocess_exec(
                *command, env=self.environ, stderr=asyncio.subprocess.PIPE, limit=1 << 20
            )
            self.pid = process.pid
            self._go_on(self._read_log(process.stderr))
            self._go_on(self._wait_for(process))
        else:
            if self._warm is None:
                await self._warm_up()
            assert self._warm is not None
            assert self._warm.stdin is not None
            self._warm.stdin.write(b"\n")
        async with asyncio.timeout(START_SECONDS):
            await asyncio.wait([self._started, self._ended], return_when=asyncio.FIRST_COMPLETED)
        assert self._started.done(), f"it ended: {self.log[-5:]}"
        line = self._started.result()
        self.port, self.gate_port = line["port"], line["gate_port"]
        url = f"http://127.0.0.1:{self.port}/webhook/stripe"
        if self._endpoint is None:
            endpoint_id = self.stripe.add_endpoint(url, WEBHOOK_SECRET)["id"]
            self._endpoint = self.stripe.state.find("webhook_endpoint", endpoint_id)
        self._endpoint["url"] = url

    def kill(self) -> None:
        """SIGKILL, now. Once it is dead this does nothing."""
        self._aimed_at = None
        if self.pid and self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.acknowledged_at_kill = frozenset(self.acknowledged)

    @property
    def alive(self) -> bool:
        return self._ended is not None and not self._ended.done()

    async def dead(self, seconds: float) -> int | None:
        """Its exit status once it has ended (negative: the signal), None if it lives on after `seconds`."""
        assert self._ended is not None
        await asyncio.wait([self._ended], timeout=seconds)
        return self._ended.result() if self._ended.done() else None

    async def terminate(self, seconds: float) -> int | None:
        """SIGTERM, and its exit status."""
        os.kill(self.pid, signal.SIGTERM)
        return await self.dead(seconds)

    def aim(self, stage: str) -> None:
        """Kill it the next time that it reaches this stage."""
        self._changes_before = self._changes()
        self._aimed_at = stage
        if stage == "committed":
            self._go_on(self._watch_commits())

    async def _watch_commits(self) -> None:
        """Kill it as soon as a change of tier can be read, long before LiteLLM is called for it."""
        while self._aimed_at == "committed":
            if self._changes() != self._changes_before:
                self.kill()
            await asyncio.sleep(0)

    def _changes(self) -> Any:
        """The number of the newest change of a tier."""
        return self.row("SELECT max(change_number) FROM tier_changes")

    def _shoot(self, stage: str) -> None:
        if self._aimed_at == stage:
            self.kill()

    async def _warm_up(self) -> None:
        self._warm = await asyncio.create_subprocess_exec(
            sys.executable, str(WARM), *([self._broken_guarantee] if self._broken_guarantee else []),
            env=self.environ, limit=1 << 20, start_new_session=True,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self._go_on(self._read_log(self._warm.stderr))
        self._go_on(self._read_warm(self._warm))

    async def _read_warm(self, warm: asyncio.subprocess.Process) -> None:
        assert warm.stdout is not None
        while line := await warm.stdout.readline():
            what, number = line.split()
            if what == b"started":
                self.pid = int(number)
            elif self._ended is not None:
                self._ended.set_result(int(number))

    async def _wait_for(self, process: asyncio.subprocess.Process) -> None:
        status = await process.wait()
        if self._ended is not None:
            self._ended.set_result(status)

    async def _read_log(self, stream: asyncio.StreamReader | None) -> None:
        assert stream is not None
        while raw := await stream.readline():
            text = raw.decode(errors="replace")
            # What a killed process had begun to say stands before the next one's first line.
            line = _parsed(text[text.rfind('{"at"') :])
            self.log.append(line)
            if line.get("event") == "started" and self._started is not None and not self._started.done():
                self._started.set_result(line)

    def _go_on(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Kill what runs."""
        self.kill()
        if self._ended is not None:
            await self.dead(5)
        if self._warm is not None:
            # With its session, so that no service is left that it has forked but not reported yet.
            os.killpg(self._warm.pid, signal.SIGKILL)
            await self._warm.wait()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # What the vendors see, and where they shoot.

    def row(self, query: str, *values: str) -> Any:
        """One value of the service's database, read by another connection that cannot write; None if there is none."""
        with contextlib.closing(self.connect()) as conn:
            found = conn.execute(query, values).fetchone()
            return None if found is None else found[0]

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)

    def _delivered(self, delivery: Delivery) -> None:
        if delivery.succeeded:
            self.acknowledged.add(delivery.event_id)
            self._shoot("inbox")

    @web.middleware
    async def at_stripe(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        customer_id = request.query.get("customer")
        if request.path != "/v1/subscriptions" or customer_id is None:
            return await handler(request)
        self._shoot("leased")
        response = await handler(request)
        user_id = self.stripe.state.find("customer", customer_id)["metadata"]["user_id"]
        lease = "SELECT lease_number FROM refreshes WHERE user_id = ? AND lease_owner != ''"
        number = self.row(lease, user_id)
        if request.transport is not None and not request.transport.is_closing():
            await _send(request, response)
            if response.status == 200 and number is not None:
                self.saw.fetched[user_id] = number
                # Some at once, some around the commit that follows.
                asyncio.get_running_loop().call_later(self.random.choice((0, 0, 0.002, 0.004)), self._shoot, "fetched")
        return response

    @web.middleware
    async def at_litellm(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        # Budgets are read at the start, too, when nothing was committed yet.
        if request.path == "/budget/info" and self._changes() != self._changes_before:
            self._shoot("committed")
        if request.path not in ("/customer/new", "/customer/update"):
            return await handler(request)
        user_id = (await request.json())["user_id"]
        version = self.row("SELECT version FROM provisioning WHERE user_id = ?", user_id)
        if version is not None:
            self.saw.provisioned[user_id] = version
        if self.random.random() < 0.5:
            self._shoot("litellm sent")
        response = await handler(request)
        if request.transport is not None and not request.transport.is_closing():
            await _send(request, response)
        self._shoot("litellm sent")
        return response

    async def at_app(self, request: web.Request) -> web.StreamResponse:
        """The app: takes what is signed, now and then refuses it all the same."""
        body = await request.read()
        Webhook(NOTIFY_SECRET).verify(body, dict(request.headers))
        if self.refuse_notices:
            self.refuse_notices -= 1
            return web.Response(status=503)
        self.saw.notices.append(Notice(request.headers["webhook-id"], body))
        self.saw.noticed.add(request.headers["webhook-id"])
        if self.random.random() < 0.5:
            self._shoot("notice sent")
        response = web.Response(status=204)
        await _send(request, response)
        self._shoot("notice sent")
        return response


def _parsed(text: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError:
        return {"level": "TEXT", "event": text}
    return found


async def _send(request: web.Request, response: web.StreamResponse) -> None:
    """Out with it before anything else happens; aiohttp finds it sent."""
    with contextlib.suppress(ConnectionError):
        await response.prepare(request)
        await response.write_eof()


@contextlib.asynccontextmanager
async def opened_crash_stage(folder: Path, seed: int, broken_guarantee: str = "") -> AsyncIterator[CrashStage]:
    """A stage whose service is not started yet; `spoilt` names a promise that it breaks unless it is started cold."""
    stage = CrashStage(folder, Random(seed), broken_guarantee)  # noqa: S311  # chance to be repeated, no secret
    stripe, litellm, app = stage.stripe.application(), stage.litellm.application(), web.Application()
    stripe.middlewares.append(stage.at_stripe)
    litellm.middlewares.append(stage.at_litellm)
    app.router.add_post("/hooks/tiers", stage.at_app)
    async with served(stripe) as stripe_url, served(litellm) as litellm_url, served(app) as app_url:
        stage.stripe.public_url = stripe_url
        notify = {"url": f"{app_url}/hooks/tiers", "secret": "env:NOTIFY_SECRET"}
        write_apps(folder, lambda apps: apps["apps"][0].update(notify=notify))
        environ = environ_of(folder, stripe_url=stripe_url, litellm_url=litellm_url, NOTIFY_SECRET=NOTIFY_SECRET)
        stage.environ = {**os.environ, **environ}
        try:
            yield stage
        finally:
            await stage.close()
