"""The gate answers from memory: during any outage paying users are let in, and no others."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from access.access_samples import session as session_token
from servers.found import require
from servers.postgresql import cluster
from servers.running import (
    GATE_SECRET,
    SESSION_SECRET,
    Running,
    Served,
    environ_of,
    running_application,
    vendors,
    write_apps,
)
from servers.traefik import free_port, until

from gateway.app.application import Application
from gateway.sandbox.litellm import Fault as LiteLLMFault
from gateway.sandbox.stripe.faults import Fault as StripeFault
from gateway.settings import read_settings

PAID = "/api/v1/images"
FAR = 2_000_000_000


def cookie(user_id: str) -> str:
    return "token=" + session_token(user_id, FAR, SESSION_SECRET).decode()


# Path, cookie → status, tier. `u1` has the tier pro, `u2` none, nobody has no cookie.
EXPECTED = {
    (PAID, cookie("u1")): (200, "pro"),
    ("/", cookie("u1")): (200, "pro"),
    (PAID, cookie("u2")): (402, "free"),
    ("/", cookie("u2")): (200, "free"),
    (PAID, ""): (401, None),
    ("/", ""): (200, "free"),
    ("/", "token=forged"): (200, "free"),
    (PAID, "token=forged"): (401, None),
}


async def grant(running: Running) -> None:
    await running.admin(
        "POST", "/admin/grants", {"app_id": "skai", "user_id": "u1", "tier": "pro", "reason": "a payer"}
    )

    async def observed() -> bool:
        return (await running.gate(PAID, Cookie=cookie("u1")))[0] == 200

    await until(observed, "u1 is pro")


async def answers(running: Running) -> dict[tuple[str, str], tuple[int, str | None]]:
    found = {}
    for path, token in EXPECTED:
        headers = {"Cookie": token} if token else {}
        status, got, _ = await running.gate(path, **headers)
        found[path, token] = status, got.get("X-SK-Tier")
    return found


@contextlib.contextmanager
def sqlite(folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """A database's URL and how it dies: nothing of it can be read any more."""

    def spoil() -> None:
        for path in (folder / "skpayments.db", folder / "skpayments.db-wal"):
            with path.open("r+b") as file:
                file.write(bytes(path.stat().st_size))

    yield f"sqlite:///{folder / 'skpayments.db'}", spoil


@contextlib.contextmanager
def postgresql(folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    with cluster(require("postgresql")) as server:
        yield server.new_database(), server.stop
        server.start()


@pytest.mark.parametrize("database", [sqlite, pytest.param(postgresql, marks=pytest.mark.needs_postgresql)])
async def test_the_gate_answers_while_database_stripe_and_litellm_are_dead(tmp_path: Path, database: Any) -> None:
    with database(tmp_path) as (url, spoil):
        async with running_application(tmp_path, DATABASE_URL=url) as running:
            await grant(running)
            running.stripe.faults.add(StripeFault("reset", times=1_000_000))
            running.litellm.faults.add(LiteLLMFault("reset", times=1_000_000))
            await asyncio.to_thread(spoil)
            assert await answers(running) == EXPECTED
            assert (await running.json("GET", "/status/skai/u1"))[0] == 503
            write_apps(running.folder, lambda apps: apps["apps"].pop())
            assert (await running.admin("POST", "/admin/reload"))[0] == 503
            assert await answers(running) == EXPECTED


async def test_the_gate_is_ready_while_stripe_keeps_a_start_waiting(tmp_path: Path) -> None:
    """Stripe accepts the connection and does not answer: the start waits for it, the gate does not."""
    async with running_application(tmp_path) as running:
        await grant(running)
        environ = running.environ
    async with vendors() as around:
        around.stripe.faults.add(StripeFault("slow", times=1_000_000, seconds=30))
        environ = {**environ, "STRIPE_API_BASE": around.stripe_url, "LITELLM_URL": around.litellm_url}
        application = Application(read_settings(environ), environ)
        starting = asyncio.create_task(application.start())
        async with aiohttp.ClientSession() as session:
            running = Running(application, environ, tmp_path, around.stripe, around.litellm, session)
            try:

                async def ready() -> bool:
                    return application.gate_port != 0 and (await running.gate(PAID, Cookie=cookie("u1")))[0] == 200

                await until(ready, "the gate answers")
                assert await answers(running) == EXPECTED
                assert not starting.done()
            finally:
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)
                await application.stop()


@dataclass
class Stream:
    """Requests without end, each on a connection of its own or kept alive; `wrong` is what must not have come."""

    port: int
    received: Counter[str] = field(default_factory=Counter)
    wrong: list[object] = field(default_factory=list)

    async def ask_on(self, number: int) -> None:
        requests = list(EXPECTED)
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                self.received["refused"] += 1
                await asyncio.sleep(0.005)
                continue
            try:
                for _ in range(50):
                    number += 1
                    path, token = requests[number % len(requests)]
                    writer.write(request(path, token))
                    await self._judge(reader, EXPECTED[path, token])
            except (OSError, asyncio.IncompleteReadError):
                self.received["cut off"] += 1
            finally:
                writer.close()

    @staticmethod
    def _is_refusal(body: bytes) -> bool:
        """Not ready at the start; a connection accepted while the gate drains gets the answer to retry on a new one."""
        return b'"not_ready"' in body or b'"stopping"' in body

    async def _judge(self, reader: asyncio.StreamReader, expected: tuple[int, str | None]) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status = int(head.split(" ", 2)[1])
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])
        body = await reader.readexactly(int(fields["Content-Length"]))
        if (status, fields.get("X-SK-Tier")) == expected:
            self.received["right"] += 1
        elif status == 503 and self._is_refusal(body) and "Retry-After" in fields and "X-SK-Tier" not in fields:
            self.received["not ready"] += 1
        else:
            self.wrong.append((expected, head, body))
        if fields.get("Connection") == "close":
            raise asyncio.IncompleteReadError(b"", None)


def request(path: str, token: str) -> bytes:
    lines = [
        "GET /gate?app=skai HTTP/1.1", "Host: skpayments:8081", *([f"Cookie: {token}"] if token else []),
        "X-Forwarded-Host: chat.example.com", "X-Forwarded-Method: GET", f"X-Forwarded-Uri: {path}",
        f"X-Sk-Gate: {GATE_SECRET}",
    ]  # fmt: skip
    return "\r\n".join([*lines, "", ""]).encode("ascii")


async def test_a_restart_under_load_gives_no_wrong_answer(tmp_path: Path) -> None:
    """The real command is stopped and killed while requests stream in, and started again each time."""
    async with running_application(tmp_path) as running:
        await grant(running)
    async with vendors() as around:
        environ = environ_of(
            tmp_path, stripe_url=around.stripe_url, litellm_url=around.litellm_url,
            PORT=str(free_port()), GATE_PORT=str(free_port()),
        )  # fmt: skip
        stream = Stream(int(environ["GATE_PORT"]))
        asking = [asyncio.create_task(stream.ask_on(number)) for number in range(6)]
        try:
            for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
                served = Served(tmp_path, environ)
                await served.start()
                right = stream.received["right"]

                async def answered(before: int = right) -> bool:
                    return stream.received["right"] >= before + 500 or bool(stream.wrong)

                try:
                    await until(answered, "it answers", 60)
                    assert not stream.wrong, stream.wrong[:3]
                    served.process.send_signal(number)
                    assert await served.ended() == (0 if number == signal.SIGTERM else -number)
                finally:
                    await served.stop()
        finally:
            for task in asking:
                task.cancel()
            ended = await asyncio.gather(*asking, return_exceptions=True)
    assert not stream.wrong, stream.wrong[:3]  # what came while it ended
    assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended
    assert stream.received["refused"] > 0
