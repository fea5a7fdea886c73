"""Time until a webhook is on disk: the whole service against an aiohttp handler that only appends and fsyncs a line.

    python bench/webhooks.py [--seconds 4] [--rounds 3] [--folder DIR]

Signed events of 3 kB, each new, about 20 customers whose refreshes run all the while against a sandbox Stripe and
LiteLLM; one process, SQLite in DIR, which must be on a real disk. One core for the server, the other for the load and
the vendors. Then, one event at a time: how long until the gate tags with the new tier and LiteLLM holds its budget.
A ratio means something only within one run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import uvloop
from aiohttp import web
from parts.processes import Server, pinned
from parts.service import MAX_BUDGETS, Stage, a_subscriber, change, service_running, telling, until

CONNECTIONS = (1, 16, 64)
SENDER = Path(__file__).parent / "clients" / "stripe_sender.py"
CHANGES = 40
# Connections → the least ratio to the bare handler.
MARKS = {1: 0.70, 16: 1.5, 64: 1.5}
MARK_P99_MS = 50.0


async def serve_bare(port_file: Path, log: Path) -> None:
    """The least that a receiver of webhooks does: read the body, append it, fsync, answer."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def handle(request: web.Request) -> web.Response:
        os.write(descriptor, await request.read() + b"\n")
        os.fsync(descriptor)
        return web.json_response({"received": True})

    application = web.Application()
    application.router.add_post("/webhook/stripe", handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port_file.write_text(json.dumps({"port": runner.addresses[0][1]}) + "\n")  # noqa: ASYNC240  # before any request
    await asyncio.Event().wait()


async def load(
    server: Server, connections: int, seconds: float, name: str, customer_ids: list[str]
) -> dict[str, float]:
    arguments = json.dumps([server.port, connections, seconds, name, customer_ids])
    before = server.cpu_seconds()
    process = await asyncio.create_subprocess_exec(
        *pinned(1, [sys.executable, str(SENDER), arguments]), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), seconds + 30)
    measured: dict[str, float] = json.loads(output)
    assert not measured["refused"], measured
    return measured | {"cpu": 1e6 * (server.cpu_seconds() - before) / (measured["rate"] * seconds)}


async def measure(stage: Stage, servers: dict[str, Server], options: argparse.Namespace) -> bool:
    """Alternate between the two, so that other load affects both; print medians. True: within the limits."""
    print(
        f"{'connections':>12} {'server':>8} {'events/s':>9} {'p50 ms':>7} {'p99 ms':>7} {'CPU us':>7} {'of bare':>8} "
        f"{'mark':>5}"
    )
    kept = True
    for connections in CONNECTIONS:
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
        for number in range(options.rounds):
            for name, server in servers.items():
                unique = f"{connections}_{number}"
                rounds[name].append(await load(server, connections, options.seconds, unique, stage.customer_ids))
        medians = {
            name: {key: statistics.median(each[key] for each in found) for key in ("rate", "p50", "p99", "cpu")}
            for name, found in rounds.items()
        }
        for name, found in medians.items():
            ratio = found["rate"] / medians["bare"]["rate"]
            cell = f"{ratio:>8.2f} {MARKS[connections]:>5.2f}" if name == "service" else ""
            times = f"{found['p50']:>7.2f} {found['p99']:>7.2f} {found['cpu']:>7.0f}"
            print(f"{connections:>12} {name:>8} {found['rate']:>9.0f} {times} {cell}", flush=True)
        kept &= ratio >= MARKS[connections] and medians["service"]["p99"] < MARK_P99_MS
    return kept


async def measure_effect(stage: Stage) -> None:
    """Time from Stripe's event to the gate's new tier, and to LiteLLM's new budget."""
    took: dict[str, list[float]] = {"the tag at the gate": [], "LiteLLM's answer": []}
    subscription, user_id = a_subscriber(stage)
    for number in range(CHANGES):
        tier = ("top", "pro")[number % 2]
        began = time.perf_counter()
        await change(stage, subscription, tier)
        instants = await asyncio.gather(
            until(partial(stage.is_tagged, user_id, tier), "the tag"),
            until(partial(stage.may_spend, user_id, MAX_BUDGETS[tier]), "the budget"),
        )
        for found, instant in zip(took.values(), instants, strict=True):
            found.append(1000 * (instant - began))
    for what, found in took.items():
        print(f"webhook to {what}: median {statistics.median(found):.0f} ms, slowest of {CHANGES} {max(found):.0f} ms")


async def compare(folder: Path, options: argparse.Namespace) -> bool:
    port_file = folder / "bare.port"
    bare = [__file__, "--bare", json.dumps([str(port_file), str(folder / "bare.log")])]
    async with service_running(folder) as stage:
        with telling(bare, port_file, folder / "bare.err", {}) as peer:
            await measure_effect(stage)
            return await measure(stage, {"bare": Server(peer["pid"], peer["port"]), "service": stage.web}, options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--folder", type=Path, default=Path(), help="on the disk to measure; a new folder is made in it"
    )
    parser.add_argument("--bare", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        uvloop.run(serve_bare(*map(Path, json.loads(options.bare))))
    else:
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            kept = uvloop.run(compare(Path(name).absolute(), options))
        print("every mark was met" if kept else "a mark was missed")


if __name__ == "__main__":
    main()
