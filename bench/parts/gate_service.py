"""The gate of the whole service: while webhooks or junk arrive, and the delay of a tier change."""

from __future__ import annotations

import asyncio
import json
import math
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from parts import people, wrk
from parts.processes import pinned
from parts.service import Stage, a_subscriber, change, database, service_running
from parts.tables import Report

_CLIENTS = Path(__file__).parents[1] / "clients"
_RATE = 500
_SLOW = 32
_OF_QUIET, _P99_MS, _VISIBLE_MS = 0.85, 5.0, 20.0
_CHANGES = 100
_CORES = "The service on one core; wrk, the senders and the vendors on the other. 16 connections"
_OWN_CORE = (
    "A gate process on one core; the main process, wrk, the senders and the vendors on the other. 16 connections"
)
T = TypeVar("T")
_Disturb = Callable[[Stage, float], tuple[str, list[Any]]]


def webhooks(report: Report, folder: Path, rounds: int, seconds: int) -> None:
    events = f"{_RATE} signed events of 3 kB a second about 20 customers"
    numbers = count()

    def disturb(stage: Stage, long: float) -> tuple[str, list[Any]]:
        name = f"gate_{next(numbers)}"
        return "stripe_sender.py", [stage.web.port, 16, long, name, stage.customer_ids, _RATE]

    for gate_processes, cores in ((0, _CORES), (1, _OWN_CORE)):
        report.section("While webhooks arrive", f"{cores}; {events}.")
        with tempfile.TemporaryDirectory(dir=folder) as own:
            _run(_beside("webhooks", report, Path(own), rounds, seconds, disturb, gate_processes))


def junk(report: Report, folder: Path, rounds: int, seconds: int) -> None:
    report.section(
        "While junk comes in",
        f"{_CORES}; {_RATE} refused requests a second, which is what the router's limit allows five addresses, "
        f"each on a new connection, and {_SLOW} slow bodies.",
    )
    _run(
        _beside(
            "junk", report, folder, rounds, seconds,
            lambda stage, long: ("junk_sender.py", [stage.web.port, long, _RATE, _SLOW]),
        )
    )  # fmt: skip


async def _beside(
    what: str, report: Report, folder: Path, rounds: int, seconds: int, disturb: _Disturb, gate_processes: int = 0
) -> None:
    """The gate at full load, alternately alone and with other traffic."""
    report.head("beside", "req/s", "p99 ms", "CPU us", "of quiet", "sent /s")
    async with service_running(folder, gate_processes=gate_processes) as stage:
        buyers = [f"user-{number % len(stage.customer_ids)}" for number in range(1000)]
        cookies = people.write_cookies(folder / "cookies", buyers)
        await asyncio.to_thread(wrk.show, stage.gate, cookies)
        url = f"http://127.0.0.1:{stage.gate.port}/"
        load = wrk.Load(url, wrk.to_gate(folder, cookies), 16, (stage.gate,))
        quiet, disturbed, rates = [], [], []
        for _ in range(rounds):
            quiet.append(await asyncio.to_thread(load.run, seconds))
            client, arguments = disturb(stage, seconds + 1)
            command = [sys.executable, str(_CLIENTS / client), json.dumps(arguments)]
            sender = await asyncio.create_subprocess_exec(*pinned(1, command), stdout=asyncio.subprocess.PIPE)
            await asyncio.sleep(0.5)
            disturbed.append(await asyncio.to_thread(load.run, seconds))
            sent = json.loads((await sender.communicate())[0])
            assert not sent.get("refused"), sent
            rates.append(sent["rate"])
            await asyncio.sleep(1)  # the worker finishes what has arrived
    before, beside = wrk.median(quiet), wrk.median(disturbed)
    report.row("nothing", round(before.rate), before.p99_ms, before.cpu_us[0], "", "")
    report.row(
        what, round(beside.rate), report.mark(f"p99 beside {what}", beside.p99_ms, most=_P99_MS), beside.cpu_us[0],
        report.mark(f"gate beside {what}", beside.rate / before.rate, least=_OF_QUIET), round(statistics.median(rates)),
    )  # fmt: skip


def visible(report: Report, folder: Path, rounds: int, seconds: int) -> None:
    report.section(
        "Delay of a tier change",
        "From the commit of a new tier, as another process reads it, to the gate's first answer with it; "
        f"{_CHANGES} changes, polled continuously.",
    )
    report.head("changes", "median ms", "p99 ms", "worst ms")
    found = sorted(_run(_changes(folder)))
    worst = report.mark("a change is visible, ms", found[-1], most=_VISIBLE_MS)
    report.row(len(found), statistics.median(found), found[int(len(found) * 0.99) - 1], worst)


async def _changes(folder: Path) -> list[float]:
    """Milliseconds for each change."""
    async with service_running(folder) as stage:
        subscription, user_id = a_subscriber(stage)
        request = wrk.request_bytes(f"token={people.token(user_id, 'x')}")
        stored = partial(_stored, sqlite3.connect(f"file:{database(folder)}?mode=ro", uri=True), user_id)
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.gate.port)
        took = []
        for number in range(_CHANGES):
            tier = ("top", "pro")[number % 2]
            await change(stage, subscription, tier)
            committed_at, tagged = math.inf, b""
            while tagged != b"X-SK-Tier: " + tier.encode():
                if stored() == tier:
                    committed_at = min(committed_at, time.perf_counter())
                writer.write(request)
                lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
                tagged = next(line for line in lines if line.startswith(b"X-SK-Tier: "))
            took.append(1000 * max(0.0, time.perf_counter() - committed_at))
        writer.close()
        return took


def _stored(database: sqlite3.Connection, user_id: str) -> str:
    """The committed tier."""
    (tier,) = database.execute("SELECT tier FROM entitlements WHERE user_id = ?", (user_id,)).fetchone()
    return str(tier)


def _run(measuring: Coroutine[Any, Any, T]) -> T:
    """On the second core, together with the vendors in this process."""
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {1})
    return uvloop.run(measuring)
