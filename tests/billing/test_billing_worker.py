"""The worker: everything happens by itself, nothing stops anything else, and it heals and drains."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from servers.harness import Harness, until

from gateway.billing.refresh import refresh
from gateway.billing.work import due_work, worker
from gateway.billing.work.worker import Worker
from gateway.catalog.model import App
from gateway.errors import StoreUnavailable
from gateway.store import inbox
from gateway.store.change_signal import Polling


@pytest.fixture(autouse=True)
def _short_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.02)


@contextlib.asynccontextmanager
async def at_work(harness: Harness) -> AsyncIterator[Worker]:
    working = Worker(harness.billing)
    await working.start()
    following = asyncio.create_task(harness.follower.run(Polling()))
    try:
        yield working
    finally:
        await working.stop()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


def gate_says(harness: Harness, user_id: str, tier: str) -> bool:
    published = [tier_id for _, updated_user, tier_id in harness.gate_updates if updated_user == user_id]
    return bool(published) and published[-1] == tier


async def test_an_event_is_carried_through_to_the_gate_and_litellm(harness: Harness) -> None:
    async with at_work(harness):
        await harness.buy("u1")
        await harness.deliver()
        await until(lambda: gate_says(harness, "u1", "pro"), "the gate has the tier")
        await until(lambda: (harness.limits("u1") or {}).get("rpm_limit") == 60, "LiteLLM has the limits")


async def test_what_waited_in_the_database_is_done_after_the_start(harness: Harness) -> None:
    await harness.buy("u1")
    await harness.deliver()
    await harness.restart()
    async with at_work(harness):
        await until(lambda: gate_says(harness, "u1", "pro"), "the gate has the tier")


async def test_a_lease_of_a_killed_process_is_released_at_the_start(harness: Harness) -> None:
    await harness.buy("u1")
    await harness.want("u1")
    assert len(await harness.lease("killed")) == 1
    async with at_work(harness):
        await until(lambda: gate_says(harness, "u1", "pro"), "the gate has the tier")


async def test_a_job_that_fails_stops_no_other(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in deciding one user, and in provisioning another."""
    decide, litellm_id = refresh.decide, App.litellm_id

    def cannot_decide(app: Any, subscriptions: Any, *more: Any) -> Any:
        if any(each.customer_id == customers["u1"] for each in subscriptions):
            raise ZeroDivisionError
        return decide(app, subscriptions, *more)

    def cannot_provision(app: App, user_id: str) -> str:
        return litellm_id(app, user_id) if user_id != "u2" else str(1 // 0)

    for user_id in ("u1", "u2", "u3"):
        await harness.buy(user_id)
    customers = {user_id: await harness.customer_id(user_id) for user_id in ("u1", "u2", "u3")}
    monkeypatch.setattr(refresh, "decide", cannot_decide)
    monkeypatch.setattr(App, "litellm_id", cannot_provision)
    async with at_work(harness):
        await harness.deliver()
        await until(lambda: gate_says(harness, "u2", "pro") and gate_says(harness, "u3", "pro"), "two of three")
        await until(lambda: (harness.limits("u3") or {}).get("rpm_limit") == 60, "the third's limits")
    assert (await harness.tier("u1"), harness.limits("u2")) == ("free", None)


async def test_a_loop_that_crashes_goes_on(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    real, failures = due_work.route_events, [ZeroDivisionError(), ZeroDivisionError()]

    async def crashing(billing: Any) -> int:
        if failures:
            raise failures.pop()
        return await real(billing)

    monkeypatch.setattr(due_work, "route_events", crashing)
    async with at_work(harness):
        await harness.buy("u1")
        await harness.deliver()
        await until(lambda: gate_says(harness, "u1", "pro"), "the gate has the tier")


async def test_a_database_that_was_locked_for_a_while_delays_and_loses_nothing(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.engine.sqlite.BUSY_TIMEOUT_SECONDS", 0.02)
    await harness.restart()
    await harness.buy("u1")
    await harness.deliver()
    async with at_work(harness):
        with contextlib.closing(sqlite3.connect(harness.folder / "harness.db", isolation_level=None)) as other_writer:
            other_writer.execute("BEGIN IMMEDIATE")
            await until(lambda: harness.store.problem is not None, "the worker meets the lock")
            with pytest.raises(StoreUnavailable):
                await harness.want("u1")
        await until(lambda: gate_says(harness, "u1", "pro"), "the gate has the tier")
        await until(lambda: harness.store.problem is None, "the store is available")


async def test_the_gate_is_updated_after_a_commit_that_reported_a_failure(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store reports "unavailable" but has written: nothing is due any more, but the gate must be updated."""
    await harness.buy("u1")
    harness.events()
    await harness.want("u1")  # once: no later event may do it instead
    real, lost = harness.store.write, []

    async def write(job: Any) -> Any:
        done = await real(job)
        if isinstance(done, tuple) and isinstance(done[0], refresh._Outcome) and not lost:
            lost.append(job)
            raise StoreUnavailable("gone", detail="the connection broke at the commit")
        return done

    monkeypatch.setattr(harness.store, "write", write)
    async with at_work(harness):
        await until(lambda: gate_says(harness, "u1", "pro"), "the gate has the tier")
    assert len(lost) == 1
    assert await harness.tier("u1") == "pro"


async def test_stopping_waits_for_what_is_under_way(harness: Harness) -> None:
    await harness.buy("u1")
    harness.stripe.fault("slow", "/v1/subscriptions", seconds=0.2)
    async with at_work(harness):
        await harness.deliver()
        await until(lambda: bool(harness.requests("GET", "/v1/subscriptions")), "the fetch begins")
    assert await harness.tier("u1") == "pro"


async def test_stopping_does_not_wait_for_ever(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "DRAIN_SECONDS", 0.1)
    await harness.buy("u1")
    harness.stripe.fault("slow", "/v1/subscriptions", seconds=1)
    async with at_work(harness):
        await harness.deliver()
        await until(lambda: bool(harness.requests("GET", "/v1/subscriptions")), "the fetch begins")
        began = time.monotonic()
    assert time.monotonic() - began < 0.9
    await harness.restart()
    async with at_work(harness):
        await until(lambda: gate_says(harness, "u1", "pro"), "repeated after the start")


async def test_after_the_stop_nothing_is_taken_any_more(harness: Harness) -> None:
    async with at_work(harness) as working:
        pass
    assert [loop.done() for loop in working._loops] == [True] * len(working._loops)
    await harness.buy("u1")
    await harness.deliver()
    assert await harness.query(inbox.count_waiting) > 0


async def test_thirty_buyers_at_once_all_get_their_tier(harness: Harness) -> None:
    users = [f"u{number}" for number in range(30)]
    async with at_work(harness):
        await asyncio.gather(*(harness.buy(user_id) for user_id in users))
        events = harness.events()
        await asyncio.gather(*(harness.post(event) for event in [*events, *events[::-1]]))
        await until(lambda: all(gate_says(harness, user_id, "pro") for user_id in users), "all of them", seconds=20)
        await until(
            lambda: all((harness.limits(user_id) or {}).get("rpm_limit") == 60 for user_id in users), "LiteLLM too"
        )
    assert await harness.alerts() == set()
