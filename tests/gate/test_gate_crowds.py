"""Thousands of idle, slow or excess connections to the gate: all others are still served.

On uvloop, as in production.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop
from gate.gate_stage import Stage, ask, head, raw, stage
from servers.traefik import until

ALICE = raw(head(user="alice"))
NEEDED_FILES = 11_000
CROWD = Path(__file__).with_name("crowd.py")


@pytest.fixture
def many_files() -> Iterator[None]:
    """Raises the file limit for the sockets of the crowd."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < NEEDED_FILES:
        pytest.skip(f"at most {hard} open files are allowed here, {NEEDED_FILES} are needed; raise `ulimit -Hn`")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Crowd:
    """A connected crowd. `leave` disconnects it and returns how many connections ended in each way."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def leave(self) -> dict[str, int]:
        output, _ = await asyncio.wait_for(self._process.communicate(b"\n"), 20)
        pairs = (word.split("=") for word in output.decode().split())
        return {end: int(number) for end, number in pairs}


@asynccontextmanager
async def crowd(on: Stage, count: int, manner: str, first: bytes = b"") -> AsyncIterator[Crowd]:
    """`manner`: "stay", "ask" (and read one answer) or "drip" (a byte each at times)."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(CROWD), str(on.port), str(count), manner,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env={"PATH": os.environ.get("PATH", "")},
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(first.hex().encode() + b"\n")
        assert await asyncio.wait_for(process.stdout.readline(), 60) == b"there\n"
        yield Crowd(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def run(play: Callable[[], Coroutine[None, None, None]]) -> None:
    uvloop.run(play())


def connections(on: Stage) -> float:
    return on.gate.registry.gauge("skpay_gate_connections", "").of().value


async def slowest_answer(on: Stage) -> float:
    """Seconds of the slowest of 20 requests; a slow round is repeated, as another process may have had the cores."""
    slowest = await _slowest_of(on, 20)
    for _ in range(2):
        if slowest >= 1:
            slowest = min(slowest, await _slowest_of(on, 20))
    return slowest


async def _slowest_of(on: Stage, times: int) -> float:
    """Each request on its own connection, from users who must not be mixed up."""
    slowest = 0.0
    for number in range(times):
        user = ("alice", "bob", None)[number % 3]
        started = time.perf_counter()
        answer = await ask(on.port, user=user)
        slowest = max(slowest, time.perf_counter() - started)
        assert (answer.status, answer.header("X-SK-User")) == (200, user)
    return slowest


def memory_bytes() -> int:
    """The resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def _there(holds: Callable[[], bool], what: str) -> None:
    async def requested() -> bool:
        return holds()

    await until(requested, what, 30)


def test_ten_thousand_idle_connections(many_files: None) -> None:
    """Each has sent one request, as Traefik's connections have, and stays open."""

    async def play() -> None:
        async with stage(max_connections=16_384) as on:
            await slowest_answer(on)
            before = memory_bytes()
            async with crowd(on, 10_000, "ask", ALICE) as idle:
                await _there(lambda: connections(on) == 10_000, "ten thousand connections")
                each = (memory_bytes() - before) / 10_000
                slowest = await slowest_answer(on)
                # Shown by `pytest -rP`.
                sys.stdout.write(f"{each:.0f} bytes for each idle connection, slowest answer {slowest * 1000:.1f} ms")
                assert slowest < 1
                assert each < 16_384
                assert await idle.leave() == {"open": 10_000}
            await _there(lambda: connections(on) == 0, "all gone")
            assert on.listener.failed.value == 0

    run(play)


@pytest.mark.parametrize("manner", ["stay", "drip"])
def test_thousands_of_unfinished_requests(many_files: None, manner: str) -> None:
    """Slowloris: half a head each, then nothing or a byte at intervals. All get 408 after the timeout."""

    async def play() -> None:
        async with stage(max_connections=16_384) as on:
            async with crowd(on, 5_000, manner, ALICE[:-10]) as slow:
                await _there(lambda: connections(on) == 5_000, "five thousand connections")
                assert await slowest_answer(on) < 1
                on.listener._tick_seconds = 0.05
                await _there(lambda: connections(on) == 0, "all given up")
                assert await slowest_answer(on) < 1
                fared = await slow.leave()
                assert fared["answered_408"] > 0
                assert sum(fared.values()) - fared.get("dropped", 0) == fared["answered_408"]
            assert on.listener.failed.value == 0

    run(play)


def test_more_connections_than_the_limit(many_files: None) -> None:
    """Those over the limit get 503, those far over it are dropped; existing connections are served throughout."""

    async def play() -> None:
        async with stage(max_connections=500) as on:
            reader, writer = await asyncio.open_connection("127.0.0.1", on.port)

            async def served() -> bool:
                writer.write(ALICE)
                return b"X-SK-User: alice\r\n" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 1)

            assert await served()
            async with crowd(on, 3_000, "stay") as flood:
                assert await served()
                fared = await flood.leave()
            assert fared.pop("open") == 499
            assert set(fared) == {"answered_503", "dropped"}
            await _there(lambda: connections(on) == 1, "all gone")
            assert await served()
            assert await slowest_answer(on) < 1
            writer.close()

    run(play)
