"""A follower of the change log keeps a gate equal to the store, whatever happens to its wake-ups and to the log."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection

from gateway.app.gate_follower import GateFollower
from gateway.billing.work.transaction import Loop, Transaction
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.errors import StoreUnavailable
from gateway.store import Store, entitlements, forgetting, gate_changes, keys
from gateway.store.change_signal import Polling, change_signal
from gateway.store.engine.backup import back_up, restore
from gateway.store.gate_changes import ChangeKind, GateChange
from gateway.store.opening import open_reader
from gateway.store.reader import Query, Reader, T
from gateway.tiers.model import Entitlement, Reason

NOW = 1_700_000_000


class Gate:
    """`tiers` and `keys` as a gate would have them; `loads`: how often everything was loaded."""

    def __init__(self, store: Reader) -> None:
        self._store = store
        self.tiers: dict[tuple[str, str], tuple[str, int | None]] = {}
        self.keys: set[bytes] = set()
        self.loads = 0
        self.published: list[tuple[str, int] | GateChange] = []

    def begin(self, epoch: str, number: int) -> None:
        self.published.append((epoch, number))

    def applied(self, number: int, changes: Sequence[GateChange]) -> None:
        self.published += changes
        assert not changes or number == changes[-1].number

    def set_tier(self, app_id: str, user_id: str, tier_id: str, changes_at: int | None) -> None:
        self.tiers[app_id, user_id] = tier_id, changes_at

    def forget_user(self, app_id: str, user_id: str) -> None:
        self.tiers.pop((app_id, user_id), None)

    async def load_keys(self) -> None:
        self.keys = {key.key_hash for key in await self._store.read(keys.live)}

    async def load_all(self) -> None:
        self.loads += 1
        await self.load_keys()
        self.tiers = await self._store.read(stored_tiers)


def stored_tiers(conn: Connection) -> dict[tuple[str, str], tuple[str, int | None]]:
    rows = entitlements.page(conn, "app", "", 1000)
    return {("app", user_id): (tier, until) for user_id, tier, until in rows}


@pytest.fixture
async def reader(store: Store, database_url: str) -> AsyncIterator[Reader]:
    opened = open_reader(database_url)
    yield opened
    opened.close()


@pytest.fixture
async def gate(reader: Reader) -> Gate:
    return Gate(reader)


@pytest.fixture
async def follower(reader: Reader, gate: Gate) -> GateFollower:
    made = GateFollower(reader)
    await made.begin(gate)
    return made


def save(store: Store, user_id: str, tier: str, until: int | None = None) -> None:
    changes = () if until is None else ((until, "free"),)
    found = Entitlement(tier=tier, reason=Reason.ACTIVE, source="subscription", upcoming_changes=changes)
    store.write_now(lambda conn: entitlements.save(conn, "app", user_id, found, NOW))


@contextlib.asynccontextmanager
async def running(follower: GateFollower, database_url: str) -> AsyncIterator[None]:
    signal = change_signal(database_url)
    task = asyncio.create_task(follower.run(signal))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await signal.close()


async def until_equal(gate: Gate, store: Store, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while gate.tiers != store.read_now(stored_tiers):
        assert time.monotonic() < deadline, (gate.tiers, store.read_now(stored_tiers))
        await asyncio.sleep(0.01)


async def test_tiers_keys_and_deleted_users_are_applied(store: Store, follower: GateFollower, gate: Gate) -> None:
    save(store, "u1", "pro", NOW + 60)
    store.write_now(lambda conn: keys.add(conn, "user", b"k" * 32, "app", "u1", "laptop", NOW))
    await follower.catch_up()
    assert (gate.tiers, gate.keys) == ({("app", "u1"): ("pro", NOW + 60)}, {b"k" * 32})
    store.write_now(lambda conn: forgetting.remove_user(conn, "app", "u1"))
    await follower.catch_up()
    assert (gate.tiers, gate.keys, gate.loads) == ({}, set(), 0)


async def test_any_sequence_of_writes_ends_equal(
    store: Store, follower: GateFollower, gate: Gate, database_url: str
) -> None:
    rng = random.Random(3)  # noqa: S311  # the same sequence each time
    async with running(follower, database_url):
        for _ in range(150):
            user_id = f"u{rng.randrange(8)}"
            if rng.random() < 0.2:
                store.write_now(partial(forgetting.remove_user, app_id="app", user_id=user_id))
            else:
                save(store, user_id, rng.choice(["free", "pro", "max"]), rng.choice([None, NOW + 1]))
        await until_equal(gate, store)
    assert follower.number == store.read_now(gate_changes.last_number)


async def test_a_committed_write_succeeds_with_its_effects_although_the_gate_fails(
    store: Store, follower: GateFollower, gate: Gate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    work = UnitOfWork(store, time.time, follow_changes=follower.after_commit)

    def change(tx: Transaction) -> str:
        found = Entitlement(tier="pro", reason=Reason.ACTIVE, source="subscription")
        entitlements.save(tx.conn, "app", "u1", found, NOW)
        tx.wake(Loop.NOTIFY)
        return "done"

    def broken(*_: object) -> None:
        raise RuntimeError("an internal error")

    with monkeypatch.context() as patched:
        patched.setattr(gate, "set_tier", broken)
        assert await work.write(change) == "done"
    assert work.wakeups[Loop.NOTIFY].is_set()
    assert "gate_changes_failed" in caplog.text
    await follower.catch_up()
    assert gate.tiers == {("app", "u1"): ("pro", None)}


async def test_the_gate_publishes_the_log_and_a_load_of_everything(
    store: Store, reader: Reader, follower: GateFollower, gate: Gate
) -> None:
    """A tier that is the same for this gate is published too: another gate may have answered in between."""
    save(store, "u1", "pro")
    save(store, "u1", "free")
    store.write_now(lambda conn: keys.add(conn, "app", b"k" * 32, "app", None, "backend", NOW))
    save(store, "u2", "pro")
    await follower.catch_up()
    epoch = store.read_now(gate_changes.epoch)
    assert gate.published == [
        (epoch, 0),
        GateChange(1, ChangeKind.TIER, "app", "u1"),
        GateChange(2, ChangeKind.TIER, "app", "u1"),
        GateChange(3, ChangeKind.KEYS, "app", ""),
        GateChange(4, ChangeKind.TIER, "app", "u2"),
    ]
    store.write_now(lambda conn: gate_changes.record(conn, ChangeKind.ALL, "", ""))
    await follower.catch_up()
    assert gate.published[5:] == [(epoch, 5)]
    store.write_now(gate_changes.new_epoch)
    await follower.catch_up()
    assert gate.published[6:] == [(store.read_now(gate_changes.epoch), 5)]


async def test_lost_wake_ups_only_delay(store: Store, follower: GateFollower, gate: Gate) -> None:
    """T46: the signal that arrives is never this reader's."""
    task = asyncio.create_task(follower.run(Polling()))
    save(store, "u1", "pro")
    await until_equal(gate, store)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_follower_behind_the_purge_loads_everything(store: Store, follower: GateFollower, gate: Gate) -> None:
    for user_id in "abc":
        save(store, user_id, "pro")
    store.write_now(lambda conn: gate_changes.purge(conn, int(time.time()) + 10, 2))
    await follower.catch_up()
    assert gate.loads == 1
    await until_equal(gate, store)
    save(store, "d", "pro")
    await follower.catch_up()
    assert (gate.loads, len(gate.tiers)) == (1, 4)


async def test_another_epoch_loads_everything(store: Store, follower: GateFollower, gate: Gate) -> None:
    save(store, "u1", "pro")
    await follower.catch_up()
    store.write_now(gate_changes.new_epoch)
    await follower.catch_up()
    await follower.catch_up()
    assert (gate.loads, gate.tiers) == (1, {("app", "u1"): ("pro", None)})


async def test_a_moved_account_loads_everything(store: Store, follower: GateFollower, gate: Gate) -> None:
    save(store, "u1", "pro")
    await follower.catch_up()
    store.write_now(lambda conn: forgetting.remove_account(conn, (), ()))
    await follower.catch_up()
    assert (gate.loads, gate.tiers) == (1, {})


async def test_while_the_store_is_away_the_gate_stays_as_it_is(
    store: Store, reader: Reader, follower: GateFollower, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(store, "u1", "pro")
    await follower.catch_up()
    read, away = reader.read, True

    async def failing(query: Query[T]) -> T:
        if away:
            raise StoreUnavailable("no", detail="a test")
        return await read(query)

    monkeypatch.setattr(reader, "read", failing)
    task = asyncio.create_task(follower.run(Polling()))
    save(store, "u1", "max")
    await asyncio.sleep(0.3)
    assert gate.tiers == {("app", "u1"): ("pro", None)}
    assert "a test" in follower.problem
    away = False
    await until_equal(gate, store)
    assert follower.problem == ""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_restored_file_is_followed(
    store: Store, follower: GateFollower, gate: Gate, database_url: str, tmp_path: Path
) -> None:
    """The backup has an older tier and, after the restore, another epoch and a lower number."""
    save(store, "u1", "pro")
    back_up(tmp_path / "store.db", tmp_path / "backup.db")
    save(store, "u1", "max")
    await follower.catch_up()
    store.close_now()
    restore(database_url, tmp_path / "backup.db", gate_changes.new_epoch, NOW)
    await follower.catch_up()
    assert gate.tiers == {("app", "u1"): ("pro", None)}


def test_a_reader_cannot_write(store: Store, database_url: str) -> None:
    opened = open_reader(database_url)
    with pytest.raises(StoreUnavailable):
        opened.read_now(gate_changes.new_epoch)
    opened.close()
    assert store.problem is None


def test_a_database_that_does_not_exist_yet_is_waited_for(database_url: str) -> None:
    with pytest.raises(StoreUnavailable):
        open_reader(database_url)
    Store.open(database_url).close_now()
    open_reader(database_url).close()
