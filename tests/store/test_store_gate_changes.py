"""The gate's change log: numbers without gaps in the order of the commits, and wake-ups of its readers."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from servers.postgresql import Cluster
from sqlalchemy import Connection, create_engine, text

from gateway.store import Store, entitlements, forgetting, gate_changes, keys, moving
from gateway.store.change_signal import change_signal
from gateway.store.engine.backend import CHANNEL
from gateway.store.gate_changes import ChangeKind, GateChange
from gateway.store.store import store_url
from gateway.tiers.model import Entitlement, Reason

NOW = 1_700_000_000
TIER, KEYS, ALL = ChangeKind.TIER, ChangeKind.KEYS, ChangeKind.ALL


def entitlement(tier: str, until: int | None = None) -> Entitlement:
    changes = () if until is None else ((until, "free"),)
    return Entitlement(tier=tier, reason=Reason.ACTIVE, source="subscription", upcoming_changes=changes)


def record(conn: Connection, user_id: str, kind: ChangeKind = TIER) -> None:
    gate_changes.record(conn, kind, "app", user_id)


def logged(store: Store, after: int = 0) -> list[tuple[int, str, str]]:
    found = store.read_now(lambda conn: gate_changes.after(conn, after, 1000))
    assert found is not None
    return [(change.number, change.kind, change.user_id) for change in found]


def test_changes_are_numbered_from_one_without_gaps(store: Store) -> None:
    store.write_now(lambda conn: [record(conn, "a"), record(conn, "b")])
    store.write_now(lambda conn: record(conn, "c"))
    assert logged(store) == [(1, "tier", "a"), (2, "tier", "b"), (3, "tier", "c")]
    assert logged(store, after=2) == [(3, "tier", "c")]
    assert store.read_now(gate_changes.last_number) == 3


def test_a_change_recorded_twice_in_a_transaction_is_logged_once(store: Store) -> None:
    store.write_now(lambda conn: [record(conn, "a"), record(conn, "a"), record(conn, "a", KEYS)])
    assert logged(store) == [(1, "tier", "a"), (2, "keys", "a")]


def test_a_write_that_raises_logs_nothing(store: Store) -> None:
    def failing(conn: Connection) -> None:
        record(conn, "never")
        raise ValueError("a bad job")

    with pytest.raises(ValueError, match="a bad job"):
        store.write_now(failing)
    store.write_now(lambda conn: record(conn, "a"))
    assert logged(store) == [(1, "tier", "a")]


async def test_a_write_that_raises_in_a_batch_logs_nothing(store: Store) -> None:
    def failing(conn: Connection) -> None:
        record(conn, "never")
        raise ValueError("a bad job")

    def slow(conn: Connection) -> None:
        time.sleep(0.1)  # the others are queued meanwhile, and committed together

    writes = [slow, lambda conn: record(conn, "a"), failing, lambda conn: record(conn, "b")]
    outcomes = await asyncio.gather(*(store.write(write) for write in writes), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), type(None), ValueError, type(None)]
    assert logged(store) == [(1, "tier", "a"), (2, "tier", "b")]


@pytest.mark.needs_postgresql
def test_numbers_follow_the_order_of_commits(postgresql: Cluster) -> None:
    """T45: the first transaction to number its changes sleeps before its commit. No reader may see a higher number
    before the lower one."""
    url = postgresql.new_database()
    Store.open(url).close_now()
    engine = create_engine(store_url(url))
    numbered, seen = threading.Event(), []

    def first() -> None:
        with engine.begin() as conn:
            record(conn, "first")
            gate_changes.number_recorded(conn, NOW)
            numbered.set()
            time.sleep(0.5)

    def second() -> None:
        numbered.wait()
        with engine.begin() as conn:
            record(conn, "second")
            gate_changes.number_recorded(conn, NOW)

    with ThreadPoolExecutor() as threads:
        running = [threads.submit(first), threads.submit(second)]
        position = 0
        while position < 2:
            with engine.connect() as conn:
                found = gate_changes.after(conn, position, 10) or []
            seen += [change.user_id for change in found]
            position = found[-1].number if found else position
        for each in running:
            each.result()
    engine.dispose()
    assert seen == ["first", "second"]


def test_a_reader_behind_the_purge_must_load_everything(store: Store) -> None:
    for user_id in "abc":
        store.write_now(lambda conn, user_id=user_id: record(conn, user_id))
    after_all = store.read_now(gate_changes.last_number)
    assert store.write_now(lambda conn: gate_changes.purge(conn, int(time.time()) + 10, 2)) == 2
    assert store.read_now(lambda conn: gate_changes.after(conn, 1, 10)) is None
    assert logged(store, after=2) == [(3, "tier", "c")]
    assert logged(store, after=after_all) == []
    assert store.write_now(lambda conn: gate_changes.purge(conn, 0, 10)) == 0


def test_a_number_that_the_database_never_assigned_means_another_database(store: Store) -> None:
    assert store.read_now(lambda conn: gate_changes.after(conn, 1, 10)) is None


def test_the_epoch_stays_until_a_new_one_begins(store: Store) -> None:
    before = store.read_now(gate_changes.epoch)
    assert before
    assert store.read_now(gate_changes.epoch) == before
    store.write_now(gate_changes.new_epoch)
    assert store.read_now(gate_changes.epoch) not in ("", before)


def test_whatever_alters_an_answer_is_logged(store: Store) -> None:
    def save(tier: str, until: int | None = None, user_id: str = "u1") -> None:
        store.write_now(lambda conn: entitlements.save(conn, "app", user_id, entitlement(tier, until), NOW))

    save("pro")
    save("pro")  # no change
    save("pro", NOW + 60)
    save("free")
    key = store.write_now(lambda conn: keys.add(conn, "user", b"h" * 32, "app", "u1", "laptop", NOW))
    app_key = store.write_now(lambda conn: keys.add(conn, "app", b"a" * 32, "app", None, "backend", NOW))
    store.write_now(lambda conn: keys.revoke(conn, key.key_id, NOW))
    store.write_now(lambda conn: keys.revoke(conn, app_key.key_id, NOW))
    store.write_now(lambda conn: moving.move_rows(conn, "app", "u1", "u2"))
    store.write_now(lambda conn: forgetting.remove_user(conn, "app", "u1"))
    store.write_now(lambda conn: forgetting.remove_account(conn, (), ()))
    assert [(kind, user_id) for _, kind, user_id in logged(store)] == [
        *[("tier", "u1")] * 3,
        ("keys", "u1"), ("keys", ""), ("keys", "u1"), ("keys", ""),
        ("keys", "u1"), ("keys", "u2"),
        ("tier", "u1"), ("keys", "u1"),
        ("all", ""),
    ]  # fmt: skip


async def test_a_commit_with_changes_wakes_every_reader_at_once(store: Store, database_url: str) -> None:
    signals = [change_signal(database_url), change_signal(database_url)]
    for signal in signals:
        await settled(signal)
    began = time.monotonic()
    waiting = [asyncio.create_task(signal.wait(20)) for signal in signals]
    await store.write(lambda conn: record(conn, "a"))
    await asyncio.gather(*waiting)
    assert time.monotonic() - began < 10
    assert [GateChange(1, TIER, "app", "a")] == store.read_now(lambda conn: gate_changes.after(conn, 0, 10))
    for signal in signals:
        await signal.close()


async def test_a_commit_without_changes_wakes_nobody(store: Store, database_url: str) -> None:
    signal = change_signal(database_url)
    await settled(signal)
    waiting = asyncio.create_task(signal.wait(20))
    await store.write(lambda conn: conn.execute(text("SELECT 1")))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    await store.write(lambda conn: record(conn, "a"))
    await waiting
    await signal.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_reader_closes_amid_a_flood_of_notifications(store: Store, database_url: str) -> None:
    ended = threading.Event()

    def flood() -> None:
        with psycopg.connect(database_url, autocommit=True) as conn:
            while not ended.is_set():
                conn.execute(f"NOTIFY {CHANNEL}".encode())

    flooding = threading.Thread(target=flood)
    flooding.start()
    try:
        for _ in range(40):
            signal = change_signal(database_url)
            for _ in range(3):
                await signal.wait(5)
            closing = asyncio.create_task(signal.close())
            await asyncio.wait([closing], timeout=20)
            assert closing.done()
    finally:
        ended.set()
        await asyncio.to_thread(flooding.join)


async def settled(signal: object) -> None:
    """Past the first wake-ups of a connection."""
    for _ in range(100):
        began = time.monotonic()
        await signal.wait(0.5)  # type: ignore[attr-defined]
        if time.monotonic() - began >= 0.45:
            return
    raise AssertionError("the signal is never quiet")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_socket_of_a_killed_reader_is_removed(store: Store, database_url: str, tmp_path: Path) -> None:
    signal = change_signal(database_url)
    folder = tmp_path / "store.db.readers"
    (found,) = folder.iterdir()
    signal._socket.close()  # type: ignore[attr-defined]  # as a kill does: the file stays
    assert found.exists()
    await store.write(lambda conn: record(conn, "a"))
    assert list(folder.iterdir()) == []
