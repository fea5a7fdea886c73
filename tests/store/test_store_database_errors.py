"""A database that fails while it is in use: callers get an error, nothing is half written, and the store recovers."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection

from gateway.errors import StoreUnavailable
from gateway.store import Store, inbox, instance
from gateway.store.engine import writer

Until = Callable[[Callable[[], bool]], None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def sqlite_store(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store with short waits for locks and probes."""
    monkeypatch.setattr("gateway.store.engine.sqlite.BUSY_TIMEOUT_SECONDS", 0.01)
    monkeypatch.setattr(writer, "PROBE_SECONDS", 0.02)
    opened = Store.open(f"sqlite:///{path}")
    yield opened
    opened.close_now()


def _add(event_id: str, size: int = 10) -> Callable[[Connection], bool]:
    return lambda conn: inbox.add(conn, "", event_id, "t", None, False, None, b"x" * size, 1)


def _pages(number: int) -> Callable[[Connection], None]:
    def limit(conn: Connection) -> None:
        conn.exec_driver_sql(f"PRAGMA max_page_count={number}")

    return limit


def test_t11_a_full_disk_is_reported_loses_nothing_and_recovers(sqlite_store: Store) -> None:
    sqlite_store.write_now(_add("evt_1"))
    sqlite_store.write_now(_pages(1))  # SQLite raises it to the present size
    with pytest.raises(StoreUnavailable) as error:
        sqlite_store.write_now(_add("evt_2", size=100_000))
    assert "the disk is full" in error.value.detail
    assert sqlite_store.problem is not None
    assert sqlite_store.problem.endswith("store.db: the disk is full")
    sqlite_store.write_now(_pages(1_000_000))
    assert sqlite_store.write_now(_add("evt_2", size=100_000))
    assert sqlite_store.problem is None
    assert sqlite_store.read_now(inbox.count_waiting) == 2


def test_t11_a_full_disk_leaves_no_part_of_a_refused_write(sqlite_store: Store) -> None:
    sqlite_store.write_now(_pages(1))

    def both(conn: Connection) -> None:
        instance.put(conn, "part", "x")
        _add("evt_1", size=100_000)(conn)

    with pytest.raises(StoreUnavailable):
        sqlite_store.write_now(both)
    assert sqlite_store.read_now(lambda conn: instance.get(conn, "part")) is None


def test_t11_a_database_that_became_read_only_is_reported_and_reopened(sqlite_store: Store) -> None:
    def turn(conn: Connection) -> None:
        conn.exec_driver_sql("PRAGMA query_only=ON")

    sqlite_store.write_now(turn)
    with pytest.raises(StoreUnavailable) as error:
        sqlite_store.write_now(_add("evt_1"))
    assert "read-only" in error.value.detail
    assert sqlite_store.write_now(_add("evt_1"))


def test_a_locked_database_is_reported_and_recovers_without_a_write(
    sqlite_store: Store, path: Path, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway.store")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for number in range(3):
            with pytest.raises(StoreUnavailable) as error:
                sqlite_store.write_now(_add(f"evt_{number}"))
            assert "locked by another program" in error.value.detail
        assert sqlite_store.problem is not None
        assert sqlite_store.read_now(inbox.count_waiting) == 0
        other.execute("ROLLBACK")
        until(lambda: sqlite_store.problem is None)
    assert sqlite_store.write_now(_add("evt_0"))
    assert [record.getMessage() for record in caplog.records] == ["store_failed", "store_recovered"]


def test_a_connection_that_breaks_during_a_write_is_reopened(sqlite_store: Store) -> None:
    def break_it(conn: Connection) -> None:
        instance.put(conn, "part", "x")
        assert conn.connection.driver_connection is not None
        conn.connection.driver_connection.close()
        conn.exec_driver_sql("SELECT 1")

    with pytest.raises(Exception, match=r"closed|cannot be used"):
        sqlite_store.write_now(break_it)
    assert sqlite_store.write_now(_add("evt_1"))
    assert sqlite_store.read_now(lambda conn: instance.get(conn, "part")) is None


def test_a_transaction_aborted_by_the_database_keeps_no_write_of_the_batch(sqlite_store: Store) -> None:
    """SQLite aborts the transaction after some failures; here a write does it."""

    def end(conn: Connection) -> None:
        conn.exec_driver_sql("ROLLBACK")

    def submit(conn: Connection) -> None:
        futures.extend(sqlite_store._writer.submit(write) for write in (_add("evt_1"), end, _add("evt_2")))

    futures: list[object] = []
    sqlite_store.write_now(submit)
    for future in futures:
        with pytest.raises(StoreUnavailable):
            future.result(10)  # type: ignore[attr-defined]  # a Future, of differing results
    assert sqlite_store.read_now(inbox.count_waiting) == 0
    assert sqlite_store.write_now(_add("evt_1"))
