"""Repeated kill -9 under a stream of purchases and failing vendors: nothing is lost, nothing is duplicated."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from pathlib import Path

import pytest
from crash_people import People, crowd
from crash_unfinished import Unfinished, unfinished_work, waiting
from crash_verdict import problems, visit_all_users
from servers.crash_stage import STAGES, CrashStage, opened_crash_stage

KILLS, KILLS_PER_STAGE = 200, 20
STORM_SECONDS, SETTLE_SECONDS = 1200.0, 60.0
AIMED_SECONDS = 1.5
COLD_EVERY = 25
BROKEN_LIVES = 25
# What was furthest along names a kill that was aimed at nothing.
_FURTHEST = ("notice sent", "litellm sent", "committed", "fetched", "leased", "inbox", "routed")


class Storm:
    """Kills until there are enough. `kills`: stage → counted ones; `lives` is how often the service was started."""

    def __init__(self, stage: CrashStage, people: People) -> None:
        self.kills: Counter[str] = Counter()
        self.left: Counter[str] = Counter()
        self.lives = self.uncounted = 0
        self._stage, self._people, self._random = stage, people, stage.random

    @property
    def enough(self) -> bool:
        return self.kills.total() >= KILLS and all(self.kills[each] >= KILLS_PER_STAGE for each in STAGES)

    def next_aim(self) -> str | None:
        """Where to kill next: a stage that lacks kills, or None for a random moment."""
        lacking = [each for each in STAGES if self.kills[each] < KILLS_PER_STAGE]
        return self._random.choice(lacking) if lacking and self._random.random() < 0.75 else None

    async def one_life(self) -> None:
        """Start the service among failing vendors, kill it, see what it leaves behind."""
        aim = self.next_aim()
        self._people.break_something()
        self._stage.refuse_notices = self._random.random() < 0.1
        left = await one_kill(self._stage, self._people, aim, cold=self.lives % COLD_EVERY == 0)
        self.lives += 1
        assert not left.lost, f"acknowledged, not on disk: {left.lost}"
        self._count(aim, left.stages)

    def _count(self, aim: str | None, left: dict[str, int]) -> None:
        if not left:
            self.uncounted += 1
            return
        furthest = next(each for each in _FURTHEST if each in left)
        self.kills[aim if aim in left else furthest] += 1
        self.left.update(left)

    def table(self) -> str:
        """Kills per stage, and how many users were there in all counted kills."""
        lines = [f"{'stage':>14} {'kills':>6} {'users there':>12}"]
        lines += [f"{each:>14} {self.kills[each]:>6} {self.left[each]:>12}" for each in reversed(_FURTHEST)]
        lines.append(f"{'all':>14} {self.kills.total():>6}")
        lines.append(f"{self.lives} lives; {self.uncounted} kills found nothing unfinished and do not count")
        notices = self._stage.saw.notices
        changes = len({notice.webhook_id for notice in notices})
        lines.append(
            f"{len(self._stage.acknowledged)} events acknowledged, {changes} changes in {len(notices)} notices"
        )
        return "\n".join(lines)


async def one_kill(stage: CrashStage, people: People, aim: str | None, *, cold: bool = False) -> Unfinished:
    """Start the service, let a few people loose on it, and kill it at the stage aimed at, or at any moment."""
    await stage.start(cold=cold)
    if aim is not None:
        stage.aim(aim)
    await people.act(stage.random.randint(3, 6))
    if await stage.dead(AIMED_SECONDS if aim else stage.random.uniform(0, 0.5)) is None:
        stage.kill()
    assert await stage.dead(5) == -9
    await asyncio.sleep(0)  # what it had sent before it died is read by the vendors now
    return unfinished_work(stage, people.buying)


async def settled(stage: CrashStage, seconds: float) -> None:
    """Until nothing waits any more."""
    deadline = time.monotonic() + seconds
    while left := waiting(stage):
        assert time.monotonic() < deadline, f"still waiting: {left}; {stage.log[-5:]}"
        await asyncio.sleep(0.05)


async def verdict(stage: CrashStage, people: People) -> list[str]:
    """End all faults, start the service, wait until no work is left, and check; returns the differences."""
    people.clear_faults()
    await stage.start(cold=True)
    await people.leave_checkout()
    await settled(stage, SETTLE_SECONDS)
    await visit_all_users(stage, people.session, people.user_ids)
    await settled(stage, SETTLE_SECONDS)
    return await problems(stage, people.session, people.user_ids)


async def test_nothing_is_lost_by_kill_9(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Item 8 of the truth: after any number of kills every user has the tier that Stripe holds, everywhere, and the
    app heard of each change once."""
    seed = int(os.environ.get("SKPAY_CRASH_SEED", time.time_ns() % 1_000_000))
    began = time.monotonic()
    async with opened_crash_stage(tmp_path, seed) as stage, crowd(stage) as people:
        storm = Storm(stage, people)
        try:
            while not storm.enough and time.monotonic() - began < STORM_SECONDS:
                await storm.one_life()
        finally:
            with capsys.disabled():
                print(f"\nSKPAY_CRASH_SEED={seed}, {time.monotonic() - began:.0f} s\n{storm.table()}")  # noqa: T201
        assert storm.enough
        assert await verdict(stage, people) == []
        assert await stage.terminate(10) == 0


async def test_an_answer_before_the_commit_is_found_out(tmp_path: Path) -> None:
    """The crash test can fail: with the 200 moved before the commit an acknowledged event is soon missing."""
    async with opened_crash_stage(tmp_path, 1, "answer before the commit") as stage, crowd(stage) as people:
        for _ in range(BROKEN_LIVES):
            if (await one_kill(stage, people, "inbox")).lost:
                return
    pytest.fail(f"not noticed in {BROKEN_LIVES} kills")


async def test_publishing_outside_the_transaction_is_detected(tmp_path: Path) -> None:
    """The crash test can fail: with provisioning job and notice written after the commit, some change is lost."""
    broken_guarantee = "notify outside the transaction"
    async with opened_crash_stage(tmp_path, 1, broken_guarantee) as stage, crowd(stage) as people:
        for _ in range(BROKEN_LIVES):
            assert not (await one_kill(stage, people, "committed")).lost
        found = await verdict(stage, people)
        assert any("the app heard" in each for each in found), found
