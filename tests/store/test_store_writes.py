"""Writes and reads through the store: queued writes are committed together, and fail separately."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from gateway.errors import Conflict, StoreUnavailable
from gateway.store import Store, customers, inbox, instance
from gateway.store import schema as tables
from gateway.store.engine import writer

Until = Callable[[Callable[[], bool]], None]


class _Blocked:
    """Blocks the writer thread during the with block, so that writes are queued together."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._entered, self._leave = threading.Event(), threading.Event()
        self._pool = ThreadPoolExecutor(1)

    def __enter__(self) -> None:
        self._done = self._pool.submit(self._store.write_now, self._block)
        assert self._entered.wait(10)

    def __exit__(self, *_: object) -> None:
        self._leave.set()
        self._done.result(10)
        self._pool.shutdown()

    def _block(self, _conn: Connection) -> None:
        self._entered.set()
        assert self._leave.wait(10)


def _put(key: str, value: str = "x") -> Callable[[Connection], None]:
    return lambda conn: instance.put(conn, key, value)


def _get(store: Store, key: str) -> str | None:
    return store.read_now(lambda conn: instance.get(conn, key))


async def test_a_write_is_read_by_this_and_the_next_instance(database_url: str) -> None:
    store = Store.open(database_url)
    assert await store.write(lambda conn: inbox.add(conn, "", "evt_1", "t", None, False, None, b"{}", 100))
    assert await store.read(inbox.count_waiting) == 1
    await store.close()
    reopened = Store.open(database_url)
    assert await reopened.read(inbox.count_waiting) == 1
    await reopened.close()


async def test_queued_writes_are_committed_together(store: Store, until: Until) -> None:
    before = store.commits
    with _Blocked(store):
        tasks = [asyncio.create_task(store.write(_put(f"k{number}"))) for number in range(200)]
        await asyncio.sleep(0)
        assert store.waiting == 200
    await asyncio.gather(*tasks)
    assert store.commits - before == 2
    assert all(_get(store, f"k{number}") == "x" for number in range(200))


async def test_a_failing_write_rolls_back_only_itself(store: Store) -> None:
    def bad(conn: Connection) -> None:
        instance.put(conn, "bad", "x")
        raise ValueError("no")

    def worse(conn: Connection) -> None:
        instance.put(conn, "worse", "x")
        conn.execute(insert(tables.instance), {"key": "before", "value": "twice"})

    def conflicting(conn: Connection) -> None:
        customers.add(conn, "skai", "u1", "cus_1", None, 1)
        customers.add(conn, "skai", "u2", "cus_1", None, 1)

    with _Blocked(store):
        writes = [_put("before"), bad, _put("between"), worse, conflicting, _put("after")]
        tasks = [asyncio.create_task(store.write(write)) for write in writes]
        await asyncio.sleep(0)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [
        type(None), ValueError, type(None), IntegrityError, Conflict, type(None),
    ]  # fmt: skip
    stored = {key: _get(store, key) for key in ("before", "bad", "between", "worse", "after")}
    assert stored == {"before": "x", "bad": None, "between": "x", "worse": None, "after": "x"}
    assert store.read_now(lambda conn: customers.owner(conn, "cus_1")) is None
    assert store.problem is None


def test_a_single_failing_write_is_rolled_back(store: Store) -> None:
    def bad(conn: Connection) -> None:
        instance.put(conn, "bad", "x")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.write_now(bad)
    assert _get(store, "bad") is None
    store.write_now(_put("good"))
    assert _get(store, "good") == "x"


def test_a_write_that_raises_system_exit_does_not_stop_the_writer(store: Store) -> None:
    def leave(_conn: Connection) -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        store.write_now(leave)
    store.write_now(_put("good"))


async def test_a_cancelled_caller_does_not_cancel_its_write(store: Store) -> None:
    with _Blocked(store):
        task = asyncio.create_task(store.write(_put("cancelled")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await asyncio.wait_for(store.write(_put("later")), 10)
    assert _get(store, "cancelled") == "x"


async def test_close_finishes_queued_writes(database_url: str) -> None:
    store = Store.open(database_url)
    with _Blocked(store):
        tasks = [asyncio.create_task(store.write(_put(f"k{number}"))) for number in range(1200)]
        await asyncio.sleep(0)
        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    await closing
    await store.close()
    reopened = Store.open(database_url)
    assert len(reopened.read_now(lambda conn: conn.execute(select(tables.instance.c.key)).all())) >= 1200
    reopened.close_now()


async def test_a_closed_store_refuses_reads_and_writes(database_url: str) -> None:
    store = Store.open(database_url)
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.write(_put("late"))
    with pytest.raises(StoreUnavailable):
        await store.read(inbox.count_waiting)
    with pytest.raises(StoreUnavailable):
        store.read_now(inbox.count_waiting)


async def test_a_write_to_a_full_queue_is_refused_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_WAITING", 3)
    with _Blocked(store):
        tasks = [asyncio.create_task(store.write(_put(f"k{number}"))) for number in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailable):
            await store.write(_put("too many"))
    await asyncio.gather(*tasks)
    assert _get(store, "too many") is None


async def test_a_query_reads_one_snapshot_and_does_not_wait_for_the_writer(store: Store) -> None:
    store.write_now(_put("key", "old"))

    def twice(conn: Connection) -> tuple[str | None, str | None]:
        before = instance.get(conn, "key")
        store.write_now(_put("key", "new"))
        return before, instance.get(conn, "key")

    assert await store.read(twice) == ("old", "old")
    assert _get(store, "key") == "new"


def test_a_query_cannot_write(store: Store) -> None:
    with pytest.raises(StoreUnavailable):
        store.read_now(_put("sneaked"))
    assert _get(store, "sneaked") is None


def test_an_error_in_a_statement_is_raised_unchanged(store: Store) -> None:
    def mistaken(conn: Connection) -> None:
        conn.exec_driver_sql("SELECT * FROM no_such_table")

    with pytest.raises(Exception, match="no_such_table") as error:
        store.read_now(mistaken)
    assert not isinstance(error.value, StoreUnavailable)
    with pytest.raises(Exception, match="no_such_table") as error:
        store.write_now(mistaken)
    assert not isinstance(error.value, StoreUnavailable)
    assert store.problem is None
