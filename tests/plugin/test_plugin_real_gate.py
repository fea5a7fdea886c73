"""The plugin and SKPayments as separate processes, with the generated routes."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web
from plugin_stage import Answer, app, exchange, read
from servers.running import (
    ADMIN_TOKEN,
    GATE_SECRET,
    PUBLIC_URL,
    SESSION_SECRET,
    Served,
    environ_of,
    served,
    serving,
    vendors,
    write_apps,
)
from servers.stopwatch import stopwatch
from servers.traefik import PLUGINS_DIR, WITH_PLUGIN, Traefik, free_port, until

from gateway.catalog import parse
from gateway.routing import plan, traefik_file

pytestmark = pytest.mark.needs_traefik
HOST = "chat.example.com"


@dataclass
class Harness:
    """`skpay` is the process of the gate; `asked` counts the calls that it has answered."""

    skpay: Served
    traefik: Traefik
    session: aiohttp.ClientSession

    async def grant(self, user_id: str, tier_id: str) -> None:
        """Returns when it is committed."""
        grant = {"app_id": "skai", "user_id": user_id, "tier": tier_id, "reason": "test"}
        await self._admin("DELETE", f"/admin/grants/skai/{user_id}")
        if tier_id != "free":
            await self._admin("POST", "/admin/grants", grant)

    async def _admin(self, method: str, path: str, body: Any = None) -> None:
        url = f"http://127.0.0.1:{self.skpay.port}{path}"
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        async with self.session.request(method, url, json=body, headers=headers) as answer:
            assert answer.status in (200, 201, 404), await answer.text()

    async def requests(self) -> int:
        url = f"http://127.0.0.1:{self.skpay.gate_port}/metrics"
        async with self.session.get(url, headers={"X-SK-Gate": GATE_SECRET}) as answer:
            lines = (await answer.text()).splitlines()
        counts = (line.rpartition(" ")[2] for line in lines if line.startswith("skpay_gate_requests_total{"))
        return sum(int(float(count)) for count in counts)

    async def ask(self, user_id: str, target: str = "/a", more: str = "") -> Answer:
        head = f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookie(user_id)}{more}\r\nConnection: close\r\n\r\n"
        return read(await exchange(self.traefik.url, head.encode()))

    async def tier_of(self, user_id: str) -> str | None:
        return (await self.ask(user_id)).tag()

    async def until_tier(self, user_id: str, tier_id: str) -> None:
        async def is_it() -> bool:
            answer = await self.ask(user_id)
            return answer.status == 200 and answer.tag() == tier_id

        await until(is_it, f"{user_id} on {tier_id}", 30)

    async def until_cached(self, user_id: str) -> None:
        async def kept() -> bool:
            await self.ask(user_id)
            before = await self.requests()
            await self.ask(user_id)
            return await self.requests() == before

        await until(kept, "kept answers", 30)


def cookie(user_id: str) -> str:
    return f"token={jwt.encode({'id': user_id, 'exp': 4_000_000_000}, SESSION_SECRET)}"


@asynccontextmanager
async def harness(folder: Path) -> AsyncIterator[Harness]:
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", app)
    ports = {"PORT": str(free_port()), "GATE_PORT": str(free_port())}
    async with vendors() as around, served(application) as app_url, aiohttp.ClientSession() as session:
        gate_url = f"http://127.0.0.1:{ports['GATE_PORT']}"

        def change(tree: dict[str, Any]) -> None:
            tree["routing"] = {"gate": "plugin", "gate_url": [gate_url], "public_service_url": app_url}
            tree["apps"][0]["upstream"] = app_url

        write_apps(folder, change)
        dynamic = folder / "dynamic"
        dynamic.mkdir()
        routes = plan(parse((folder / "apps.json").read_bytes()), PUBLIC_URL)
        (dynamic / "skpayments.yml").write_text(traefik_file(routes))
        environ = environ_of(folder, stripe_url=around.stripe_url, litellm_url=around.litellm_url, **ports)
        async with (
            serving(folder, environ) as skpay,
            Traefik(WITH_PLUGIN, dynamic, {"GATE_SECRET": GATE_SECRET}, PLUGINS_DIR) as traefik,
        ):
            await traefik.until_routers("sk-app-skai@file")
            assert await traefik.errors() == 0
            on = Harness(skpay, traefik, session)
            await on.until_tier("u1", "free")
            await on.until_cached("u1")
            yield on


async def test_a_change_applies_to_the_next_request_without_polling(tmp_path: Path) -> None:
    async with harness(tmp_path) as on:
        for tier_id in ("pro", "enterprise", "free"):
            await on.grant("u1", tier_id)
            await on.until_tier("u1", tier_id)
            await on.until_cached("u1")
            before = await on.requests()
            paid = await on.ask("u1", "/api/v1/images/x")
            assert paid.status == (402 if tier_id == "free" else 200)
            for _ in range(5):
                assert await on.tier_of("u1") == tier_id
            assert await on.requests() == before + 1
        for target in ("/API/v1/images", "/api/v1/%69mages", "/api//v1/images", "/api/v1/images./", "/api/v1/images"):
            assert (await on.ask("u1", target)).status == 402, target
        assert (await on.ask("u1", "/.skpayments/upgrade")).status == 303
        assert (await on.ask("u1", "/api/v1/images", more="; token=another")).status == 401
        assert (await on.ask("u1", more="; token=another")).tag() == "free"


async def test_the_gate_killed_and_restarted_under_load_never_leads_to_a_wrong_tier(tmp_path: Path) -> None:
    async with harness(tmp_path) as on:
        # The user's tier by a request that the gate itself answered.
        known = {"step": 0}
        steps: list[str] = ["free"]
        stop = asyncio.Event()

        async def load() -> int:
            served_ = 0
            while not stop.is_set():
                least = known["step"]
                answer = await on.ask("u1")
                if answer.status == 200:
                    served_ += 1
                    assert answer.tag() in steps[least:], (answer.tag(), steps, least)
                await asyncio.sleep(0.005)
            return served_

        loads = [asyncio.create_task(load()) for _ in range(2)]
        try:
            for number, tier_id in enumerate(("pro", "enterprise", "free", "pro"), 1):
                steps.append(tier_id)
                await on.grant("u1", tier_id)
                await on.until_tier("u1", tier_id)
                known["step"] = number
                if number % 2:
                    on.skpay.process.send_signal(signal.SIGKILL)
                    await on.skpay.process.wait()
                    assert await on.tier_of("u1") == tier_id  # kept
                    assert (await on.ask(f"unknown{number}")).status == 503
                    await on.skpay.start()
                    await on.skpay.until_up()
                    await on.until_tier(f"unknown{number}", "free")
        finally:
            stop.set()
        assert sum(await asyncio.gather(*loads)) > 10


async def test_a_stopped_gate_delays_no_user_with_a_kept_answer(tmp_path: Path) -> None:
    async with harness(tmp_path) as on:
        await on.until_cached("u1")
        on.skpay.process.send_signal(signal.SIGSTOP)
        try:
            async with stopwatch() as watch:
                for _ in range(20):
                    assert await on.tier_of("u1") == "free"
                assert watch.seconds < 1
                statuses = [answer.status for answer in await asyncio.gather(*(on.ask(f"new{n}") for n in range(10)))]
                assert statuses == [503] * 10
                assert json.loads((await on.ask("new")).body)["error"] == "gate_unavailable"
                assert watch.seconds < 4
        finally:
            on.skpay.process.send_signal(signal.SIGCONT)
        await on.until_tier("new", "free")
        await on.until_cached("new")
