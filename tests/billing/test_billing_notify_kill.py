"""T24 with a real kill -9: the process dies after a notice was sent and before that is on disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from servers.running import ADMIN_TOKEN, environ_of, vendors, write_apps
from servers.webhook_receiver import SECRET, Receiver, receiver

KILLS = 2


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class _Served:
    """`skpay serve` in a process of its own, with the requests of an operator."""

    def __init__(self, environ: dict[str, str], log: Path) -> None:
        self._environ, self._log = environ, log
        self.process: asyncio.subprocess.Process

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway", "serve", env=self._environ, stdout=log, stderr=log
            )
        await self.until("GET", "/health", lambda answer: answer["status"] is True)

    async def request(self, method: str, path: str, body: object = None) -> Any:
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{self._environ['PORT']}{path}"
            headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
            async with session.request(method, url, json=body, headers=headers) as answer:
                assert answer.status < 300, await answer.text()
                return await answer.json()

    async def until(self, method: str, path: str, true: Any) -> Any:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                answer = await self.request(method, path)
                if true(answer):
                    return answer
            assert self.process.returncode is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.terminate()
        await self.process.wait()


@contextlib.asynccontextmanager
async def _installed(folder: Path, app: Receiver) -> AsyncIterator[_Served]:
    write_apps(folder, lambda apps: apps["apps"][0].update(notify={"url": app.url, "secret": "env:HOOK"}))
    async with vendors() as around:
        environ = environ_of(
            folder,
            stripe_url=around.stripe_url,
            litellm_url=around.litellm_url,
            HOOK=SECRET,
            PORT=str(_free_port()),
            GATE_PORT=str(_free_port()),
        )
        served = _Served({**os.environ, **environ}, folder / "log")
        await served.start()
        try:
            yield served
        finally:
            await served.stop()


async def test_t24_killed_before_it_could_record_it_repeats_the_same_and_nothing_else(tmp_path: Path) -> None:
    async with receiver() as app, _installed(tmp_path, app) as served:

        async def kill(_request: web.Request) -> web.StreamResponse:
            os.kill(served.process.pid, signal.SIGKILL)
            await served.process.wait()
            return web.Response(status=204)

        app.answers.extend([kill] * KILLS)
        await served.request(
            "POST", "/admin/grants", {"app_id": "skai", "user_id": "u1", "tier": "pro", "reason": "a test"}
        )
        for _ in range(KILLS):
            assert await asyncio.wait_for(served.process.wait(), 20) == -signal.SIGKILL
            await served.start()
        found = await served.until(
            "GET", "/explain/skai/u1", lambda found: [each["state"] for each in found["notices"]] == ["done"]
        )
    assert [each["change_id"] for each in found["changes"]] == [app.ids[0]]
    assert len(app.received) == KILLS + 1
    assert {(each.webhook_id, each.body) for each in app.received} == {(app.ids[0], app.received[0].body)}
    assert app.received[-1].verified(SECRET)["data"]["to"] == "pro"
