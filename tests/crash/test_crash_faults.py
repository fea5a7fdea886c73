"""The disk full, the database locked, the vendors away, a stop under load: what was acknowledged is never lost."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from crash_people import People, crowd
from crash_unfinished import waiting
from crash_verdict import BUDGETS, problems, tags, tiers_by_stripe
from servers.crash_stage import CrashStage, opened_crash_stage

from gateway.sandbox.litellm import Fault

CUSTOMERS = 8
FOR_EVER = 1_000_000


@contextlib.asynccontextmanager
async def customers(folder: Path) -> AsyncIterator[tuple[CrashStage, People]]:
    """A service that runs, with eight people who have bought, and nothing left to do."""
    async with opened_crash_stage(folder, 7) as stage, crowd(stage, CUSTOMERS) as people:
        await stage.start()
        await people.act(CUSTOMERS)
        await people.leave_checkout()
        await until(lambda: not waiting(stage), "everybody has what they bought")
        assert "free" not in tiers_by_stripe(stage, people.user_ids).values()
        yield stage, people


async def until(true: Callable[[], bool], what: str, seconds: float = 40) -> None:
    """Poll with a deadline."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"never happened: {what}"
        await asyncio.sleep(0.02)


def refused(stage: CrashStage) -> list[int | None]:
    """What Stripe got for an answer where it was not 200."""
    return [each.status for each in stage.stripe.deliveries.log if not each.succeeded]


def everybody_leaves(stage: CrashStage) -> None:
    """Every subscription ends, which needs no HTTP request; each is an event."""
    for subscription in stage.stripe.snapshot()["subscription"]:
        stage.stripe.cancel(subscription["id"])


async def heals(stage: CrashStage, people: People) -> None:
    """Without a restart, every tier is as at Stripe."""
    life = stage.pid
    await until(lambda: not waiting(stage), "everything settles")
    assert await problems(stage, people.session, people.user_ids) == []
    assert stage.pid == life
    assert stage.alive


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB of its own: a disk that can really be full. Only root may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        reason = f"cannot mount a tmpfs: {mounted.stderr.decode().strip()}; run as root with CAP_SYS_ADMIN"
        if os.environ.get("SKPAY_TESTS_REQUIRE_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all the room there is."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError as full:
                assert full.errno == errno.ENOSPC  # noqa: PT017  # the loop ends by this error and no other
    return filler


async def test_a_full_disk_answers_503_and_heals(small_disk: Path) -> None:
    """What cannot be recorded is not acknowledged; with room on the disk all of it comes in, without a restart."""
    async with customers(small_disk) as (stage, people):
        filler = fill(small_disk)
        before = set(stage.acknowledged)
        everybody_leaves(stage)
        await until(lambda: refused(stage).count(503) >= 2 * CUSTOMERS, "webhooks are refused")
        assert set(refused(stage)) == {503}
        assert stage.acknowledged == before
        filler.unlink()
        await heals(stage, people)


async def test_a_locked_database_answers_503_and_heals(tmp_path: Path) -> None:
    """Another process holds the write lock for longer than we wait for it."""
    async with customers(tmp_path) as (stage, people):
        other = sqlite3.connect(stage.database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        before = set(stage.acknowledged)
        everybody_leaves(stage)
        await until(lambda: len(refused(stage)) >= CUSTOMERS, "webhooks are refused")
        assert set(refused(stage)) == {503}
        assert stage.acknowledged == before
        other.execute("ROLLBACK")
        other.close()
        await heals(stage, people)


async def test_sigterm_under_load_drains(tmp_path: Path) -> None:
    """Exit 0 within 10 s in the middle of webhooks, refreshes and provisioning; the next start finishes the rest."""
    async with customers(tmp_path) as (stage, people):
        for event in stage.stripe.snapshot()["event"]:
            stage.stripe.deliveries.resend(event["id"])
        everybody_leaves(stage)
        acknowledged = len(stage.acknowledged)
        await until(lambda: len(stage.acknowledged) > acknowledged, "webhooks come in")
        assert waiting(stage)
        assert await stage.terminate(10) == 0
        assert [line for line in stage.log if line["level"] not in ("INFO", "WARNING")] == []
        answered = set(stage.acknowledged)
        with contextlib.closing(stage.connect()) as conn:
            assert answered <= {event_id for (event_id,) in conn.execute("SELECT event_id FROM inbox")}
        await stage.start()
        await heals(stage, people)


async def test_without_litellm_the_tiers_follow_and_the_limits_come_later(tmp_path: Path) -> None:
    """LiteLLM away: the gate and /status know the new tier at once, LiteLLM when it is back."""
    async with customers(tmp_path) as (stage, people):
        stage.litellm.faults.add(Fault(kind="reset", times=FOR_EVER))
        everybody_leaves(stage)
        await until(lambda: waiting(stage).keys() == {"provisioning"}, "only the provisioning jobs wait")
        assert set((await tags(stage, people.session, people.user_ids)).values()) == {"free"}
        stored = [stage.litellm.state.budgets[each.budget_id] for each in stage.litellm.state.customers.values()]
        assert BUDGETS["free"] not in [budget.max_budget for budget in stored]
        stage.litellm.faults.clear()
        await heals(stage, people)


async def test_without_stripe_the_gate_keeps_the_last_tiers(tmp_path: Path) -> None:
    """Stripe away: events are taken, nobody's tier moves, not even over a kill; it moves when Stripe answers again."""
    async with customers(tmp_path) as (stage, people):
        before = await tags(stage, people.session, people.user_ids)
        stage.stripe.fault("reset", times=FOR_EVER)
        everybody_leaves(stage)
        await until(lambda: stage.stripe.deliveries.idle, "every webhook is answered 200")
        await until(lambda: _failed(stage) >= 2, "refreshes fail")
        assert await tags(stage, people.session, people.user_ids) == before
        stage.kill()
        await stage.dead(5)
        await stage.start()
        assert await tags(stage, people.session, people.user_ids) == before
        stage.stripe.faults.clear()
        await heals(stage, people)
        assert set((await tags(stage, people.session, people.user_ids)).values()) == {"free"}


def _failed(stage: CrashStage) -> int:
    return sum(line["event"] == "refresh_deferred" for line in stage.log)
