"""The effects of a transaction follow its commit, once, and never a rollback."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from servers.harness import Harness, until

from gateway.billing.work.transaction import Loop, Transaction
from gateway.errors import StoreUnavailable
from gateway.store import alerts, entitlements, forgetting, notices, provisioning, refreshes
from gateway.tiers.model import Entitlement, Reason

PRO = Entitlement("pro", Reason.GRANT, "grant")


def everything(tx: Transaction) -> str:
    """One of each effect, with its row."""
    change = entitlements.save(tx.conn, "skai", "u1", PRO, tx.now)
    assert change is not None
    tx.open_alert("refresh_failing", "skai/u1", "a test")
    tx.want_refresh("skai", "u1")
    tx.provision("skai", "u1")
    tx.notify(change, "{}")
    forgetting.remove_user(tx.conn, "skai", "u2")
    return "done"


class ObservedEffects:
    """The effects that were performed."""

    def __init__(self, harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
        self._harness, self._caplog = harness, caplog
        self.forgotten = harness.forgotten_in_gate
        caplog.set_level(logging.INFO)
        for event in harness.billing.work.wakeups.values():
            event.clear()

    @property
    def lines(self) -> list[str]:
        return [each.msg for each in self._caplog.records if each.msg.startswith("alert_")]

    @property
    def awake(self) -> set[Loop]:
        return {loop for loop, event in self._harness.billing.work.wakeups.items() if event.is_set()}

    @property
    def nothing(self) -> bool:
        return not (self.lines or self.awake or self.forgotten or self._harness.gate_updates)


@pytest.fixture
def effects(harness: Harness, caplog: pytest.LogCaptureFixture) -> ObservedEffects:
    return ObservedEffects(harness, caplog)


async def rows(harness: Harness) -> list[int]:
    """How many alerts, refreshes, provisioning jobs and notices are stored."""

    def count(conn: Any) -> list[int]:
        jobs, queued = provisioning.counts(conn), notices.counts(conn)
        return [len(alerts.live(conn)), refreshes.count_waiting(conn), jobs["waiting"], queued["waiting"]]

    return await harness.query(count)


async def test_effects_happen_once_after_the_commit(harness: Harness, effects: ObservedEffects) -> None:
    def job(tx: Transaction) -> str:
        done = everything(tx)
        assert effects.nothing  # not before the commit
        return done

    assert await harness.billing.work.write(job) == "done"
    assert await rows(harness) == [1, 1, 1, 1]
    assert harness.gate_updates == [("skai", "u1", "pro")]
    assert effects.forgotten == [("skai", "u2")]
    assert effects.awake == {Loop.REFRESH, Loop.PROVISION, Loop.NOTIFY}
    assert effects.lines == ["alert_opened"]


async def test_a_job_that_fails_has_neither_rows_nor_effects(harness: Harness, effects: ObservedEffects) -> None:
    def job(tx: Transaction) -> None:
        everything(tx)
        raise RuntimeError("after everything was written")

    with pytest.raises(RuntimeError):
        await harness.billing.work.write(job)
    assert await rows(harness) == [0, 0, 0, 0]
    assert effects.nothing


async def test_of_two_jobs_in_one_commit_only_the_good_one_has_effects(
    harness: Harness, effects: ObservedEffects
) -> None:
    """The writer rolls the bad one back to its savepoint."""

    def bad(tx: Transaction) -> None:
        everything(tx)
        raise RuntimeError("a savepoint is rolled back")

    commits = harness.store.commits
    outcomes = await asyncio.gather(
        harness.billing.work.write(bad),
        harness.billing.work.write(lambda tx: tx.want_refresh("skai", "u3")),
        harness.billing.work.write(bad),
        return_exceptions=True,
    )
    assert [type(each) for each in outcomes] == [RuntimeError, type(None), RuntimeError]
    assert harness.store.commits - commits <= 3
    assert await rows(harness) == [0, 1, 0, 0]
    assert effects.awake == {Loop.REFRESH}
    assert (effects.lines, effects.forgotten, harness.gate_updates) == ([], [], [])


async def test_an_unavailable_store_has_no_effects(
    harness: Harness, effects: ObservedEffects, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = harness.store.write

    async def write(job: Any) -> Any:
        await real(job)
        raise StoreUnavailable("gone", detail="the connection broke at the commit")

    monkeypatch.setattr(harness.store, "write", write)
    with pytest.raises(StoreUnavailable):
        await harness.billing.work.write(everything)
    assert effects.nothing


async def test_cancelling_the_caller_stops_neither_the_commit_nor_the_effects(
    harness: Harness, effects: ObservedEffects, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, begun = harness.store.write, asyncio.Event()

    async def write(job: Any) -> Any:
        begun.set()
        await asyncio.sleep(0.05)
        return await real(job)

    monkeypatch.setattr(harness.store, "write", write)
    caller = asyncio.create_task(harness.billing.work.write(everything))
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert effects.nothing
    await until(lambda: bool(harness.gate_updates), "the effects happen")
    assert effects.awake == {Loop.REFRESH, Loop.PROVISION, Loop.NOTIFY}


async def test_an_alert_is_logged_when_it_opens_and_when_it_is_resolved(
    harness: Harness, effects: ObservedEffects
) -> None:
    for _ in range(3):
        await harness.billing.work.write(lambda tx: tx.open_alert("price_missing", "skai/pro", "gone"))
    assert effects.lines == ["alert_opened"]
    assert [each.count for each in await harness.query(alerts.live)] == [3]
    for _ in range(2):
        await harness.billing.work.write(lambda tx: tx.resolve_alert("price_missing", "skai/pro"))
    assert effects.lines == ["alert_opened", "alert_resolved"]
