"""T10: the 200 to Stripe is sent only after the database's log was synced to disk, proved with strace."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import aiohttp
from servers.found import require
from servers.running import environ_of, event, stripe_signature, write_apps
from servers.traefik import free_port, until


async def test_t10_the_events_write_is_synced_before_its_200_is_sent(tmp_path: Path) -> None:
    strace = require("strace")
    write_apps(tmp_path)
    port = free_port()
    # No vendor answers there: durability depends on none.
    nobody = "http://127.0.0.1:9"
    environ = environ_of(tmp_path, stripe_url=nobody, litellm_url=nobody, PORT=str(port))
    trace = tmp_path / "trace"
    watched = "trace=fdatasync,fsync,pwrite64,write,sendto,sendmsg,writev"
    process = await asyncio.create_subprocess_exec(
        str(strace), "-f", "-y", "-s", "60", "-e", watched, "-o", str(trace), sys.executable, "-m", "gateway", "serve",
        env={**os.environ, **environ}, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with aiohttp.ClientSession() as session:

            async def up() -> bool:
                try:
                    async with session.get(f"http://127.0.0.1:{port}/health") as answer:
                        return answer.status == 200
                except aiohttp.ClientConnectionError:
                    return False

            await until(up, "skpay serve under strace", 60)
            body = event("evt_durable", padding="durable-event-marker" * 300)
            before = len(trace.read_text(errors="replace"))
            headers = {"Stripe-Signature": stripe_signature(body)}
            async with session.post(f"http://127.0.0.1:{port}/webhook/stripe", data=body, headers=headers) as answer:
                assert answer.status == 200
    finally:
        # strace does not forward a signal, so it is sent to the traced process.
        children = _children(process.pid)
        for child in children:
            os.kill(child, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), 20)
        except TimeoutError:
            for child in children:
                os.kill(child, signal.SIGKILL)
            process.kill()
            await process.wait()
    steps = steps_of(trace.read_text(errors="replace")[before:])
    assert "answer 200" in steps, steps
    until_answered = steps[: steps.index("answer 200")]
    assert "event to WAL" in until_answered, steps
    last_write = len(until_answered) - 1 - until_answered[::-1].index("event to WAL")
    assert "sync of WAL" in until_answered[last_write:], steps


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def steps_of(trace: str) -> list[str]:
    """The relevant system calls in the order in which they ended; one that another thread's call interrupts has two
    lines, `… <unfinished ...>` and `<... fdatasync resumed>) = 0`."""
    found = []
    syncing: set[str] = set()
    for line in trace.splitlines():
        thread = line.partition(" ")[0]
        sync = re.search(r"\bf(data)?sync\(\d+<[^>]*-wal>(\)\s+= 0| <unfinished)", line)
        if sync and "unfinished" in sync[2]:
            syncing.add(thread)
        elif sync or (thread in syncing and re.search(r"sync resumed>\)\s+= 0", line)):
            syncing.discard(thread)
            found.append("sync of WAL")
        elif re.search(r"pwrite64\(\d+<[^>]*-wal>.*event-marker", line):
            found.append("event to WAL")
        elif "HTTP/1.1 200 OK" in line:
            found.append("answer 200")
    return found
