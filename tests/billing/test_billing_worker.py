"""The worker: everything happens by itself, nothing stops anything else, and it heals and drains."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from servers.world import World, until

from gateway.billing import provision, refresh, worker
from gateway.billing.worker import Worker
from gateway.errors import StoreUnavailable
from gateway.store import inbox


@pytest.fixture(autouse=True)
def _short_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.02)


@contextlib.asynccontextmanager
async def at_work(world: World) -> AsyncIterator[Worker]:
    working = Worker(world.billing)
    await working.start()
    try:
        yield working
    finally:
        await working.stop()


def gate_says(world: World, user_id: str, tier: str) -> bool:
    said = [told for _, told_user, told in world.told if told_user == user_id]
    return bool(said) and said[-1] == tier


async def test_an_event_is_carried_through_to_the_gate_and_litellm(world: World) -> None:
    async with at_work(world):
        await world.buy("u1")
        await world.deliver()
        await until(lambda: gate_says(world, "u1", "pro"), "the gate hears of it")
        await until(lambda: (world.limits("u1") or {}).get("rpm_limit") == 60, "LiteLLM hears of it")


async def test_what_waited_in_the_database_is_done_after_the_start(world: World) -> None:
    await world.buy("u1")
    await world.deliver()
    await world.restart()
    async with at_work(world):
        await until(lambda: gate_says(world, "u1", "pro"), "the gate hears of it")


async def test_a_lease_of_a_killed_process_is_nobodys(world: World) -> None:
    await world.buy("u1")
    await world.want("u1")
    assert len(await world.lease("killed")) == 1
    async with at_work(world):
        await until(lambda: gate_says(world, "u1", "pro"), "the gate hears of it")


async def test_a_job_that_fails_stops_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in deciding one user, and in provisioning another."""
    decide, litellm_id = refresh.decide, provision.litellm_id

    def cannot_decide(app: Any, subscriptions: Any, *more: Any) -> Any:
        if any(each.customer_id == customers["u1"] for each in subscriptions):
            raise ZeroDivisionError
        return decide(app, subscriptions, *more)

    def cannot_provision(app: Any, user_id: str) -> str:
        return litellm_id(app, user_id) if user_id != "u2" else str(1 // 0)

    for user_id in ("u1", "u2", "u3"):
        await world.buy(user_id)
    customers = {user_id: await world.customer_id(user_id) for user_id in ("u1", "u2", "u3")}
    monkeypatch.setattr(refresh, "decide", cannot_decide)
    monkeypatch.setattr(provision, "litellm_id", cannot_provision)
    async with at_work(world):
        await world.deliver()
        await until(lambda: gate_says(world, "u2", "pro") and gate_says(world, "u3", "pro"), "two of three")
        await until(lambda: (world.limits("u3") or {}).get("rpm_limit") == 60, "the third's limits")
    assert (await world.tier("u1"), world.limits("u2")) == ("free", None)


async def test_a_loop_that_crashes_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real, failures = worker.route_events, [ZeroDivisionError(), ZeroDivisionError()]

    async def crashing(billing: Any) -> int:
        if failures:
            raise failures.pop()
        return await real(billing)

    monkeypatch.setattr(worker, "route_events", crashing)
    async with at_work(world):
        await world.buy("u1")
        await world.deliver()
        await until(lambda: gate_says(world, "u1", "pro"), "the gate hears of it")


async def test_a_database_that_was_locked_for_a_while_delays_and_loses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.sqlite.BUSY_TIMEOUT_SECONDS", 0.02)
    await world.restart()
    await world.buy("u1")
    await world.deliver()
    async with at_work(world):
        with contextlib.closing(sqlite3.connect(world.folder / "world.db", isolation_level=None)) as somebody:
            somebody.execute("BEGIN IMMEDIATE")
            await until(lambda: world.store.problem is not None, "the worker meets the lock")
            with pytest.raises(StoreUnavailable):
                await world.want("u1")
        await until(lambda: gate_says(world, "u1", "pro"), "the gate hears of it")
        await until(lambda: world.store.problem is None, "the store is well again")


async def test_the_gate_hears_of_a_commit_whose_answer_was_lost(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store says "unavailable", but has written: nothing is due any more, and yet somebody must be told."""
    await world.buy("u1")
    world.events()
    await world.want("u1")  # once: no later event may do what is asked for here
    real, lost = world.store.write, []

    async def write(job: Any) -> Any:
        done = await real(job)
        if isinstance(done, refresh._Outcome) and not lost:
            lost.append(job)
            raise StoreUnavailable("gone", detail="the connection broke at the commit")
        return done

    monkeypatch.setattr(world.store, "write", write)
    async with at_work(world):
        await until(lambda: gate_says(world, "u1", "pro"), "the gate hears of it")
    assert len(lost) == 1
    assert await world.tier("u1") == "pro"


async def test_stopping_waits_for_what_is_under_way(world: World) -> None:
    await world.buy("u1")
    world.stripe.fault("slow", "/v1/subscriptions", seconds=0.2)
    async with at_work(world):
        await world.deliver()
        await until(lambda: bool(world.asked("GET", "/v1/subscriptions")), "the fetch begins")
    assert await world.tier("u1") == "pro"


async def test_stopping_does_not_wait_for_ever(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "DRAIN_SECONDS", 0.1)
    await world.buy("u1")
    world.stripe.fault("slow", "/v1/subscriptions", seconds=1)
    async with at_work(world):
        await world.deliver()
        await until(lambda: bool(world.asked("GET", "/v1/subscriptions")), "the fetch begins")
        began = time.monotonic()
    assert time.monotonic() - began < 0.9
    await world.restart()
    async with at_work(world):
        await until(lambda: gate_says(world, "u1", "pro"), "done again after the start")


async def test_after_the_stop_nothing_is_taken_any_more(world: World) -> None:
    async with at_work(world) as working:
        pass
    assert [loop.done() for loop in working._loops] == [True] * len(working._loops)
    await world.buy("u1")
    await world.deliver()
    assert await world.query(inbox.count_waiting) > 0


async def test_thirty_buyers_at_once_all_get_their_tier(world: World) -> None:
    users = [f"u{number}" for number in range(30)]
    async with at_work(world):
        await asyncio.gather(*(world.buy(user_id) for user_id in users))
        events = world.events()
        await asyncio.gather(*(world.post(event) for event in [*events, *events[::-1]]))
        await until(lambda: all(gate_says(world, user_id, "pro") for user_id in users), "all of them", seconds=20)
        await until(
            lambda: all((world.limits(user_id) or {}).get("rpm_limit") == 60 for user_id in users), "LiteLLM too"
        )
    assert await world.alerts() == set()
