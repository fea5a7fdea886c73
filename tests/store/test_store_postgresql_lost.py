"""PostgreSQL becoming unreachable: lost sessions, a restarted server, another instance that takes the lock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql
from servers.found import require
from servers.postgresql import Cluster, cluster
from sqlalchemy import Connection

from gateway.errors import StoreUnavailable
from gateway.store import Store, inbox, instance
from gateway.store.engine import writer
from gateway.store.engine.postgresql import _LOCK

pytestmark = pytest.mark.needs_postgresql
Until = Callable[[Callable[[], bool]], None]


@pytest.fixture
def url(postgresql: Cluster) -> str:
    return postgresql.new_database()


@pytest.fixture
def store(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store that probes often after a failure."""
    monkeypatch.setattr(writer, "PROBE_SECONDS", 0.05)
    opened = Store.open(url)
    yield opened
    opened.close_now()


def _put(key: str) -> Callable[[Connection], None]:
    return lambda conn: instance.put(conn, key, "x")


def _cut(server: Cluster, url: str) -> None:
    """End every session of this database, like a restart or a firewall."""
    server.admin(
        sql.SQL("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s"),
        (url.rsplit("/", 1)[1],),
    )


def test_a_terminated_session_is_reported_and_reopened(
    store: Store, postgresql: Cluster, url: str, until: Until
) -> None:
    store.write_now(_put("before"))
    _cut(postgresql, url)
    with pytest.raises(StoreUnavailable):
        store.write_now(_put("during"))
    until(lambda: store.problem is None)
    store.write_now(_put("after"))
    assert not store.lost
    assert store.read_now(lambda conn: instance.get(conn, "before")) == "x"


def test_a_read_after_idle_sessions_were_terminated_succeeds(store: Store, postgresql: Cluster, url: str) -> None:
    assert store.read_now(inbox.count_waiting) == 0
    _cut(postgresql, url)
    assert store.read_now(inbox.count_waiting) == 0


def test_a_session_terminated_in_a_batch_keeps_no_write_of_it(store: Store, until: Until) -> None:
    def cut(conn: Connection) -> None:
        conn.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")

    def submit(conn: Connection) -> None:
        futures.extend(store._writer.submit(write) for write in (_put("one"), cut, _put("two")))

    futures: list[object] = []
    store.write_now(submit)
    for future in futures:
        with pytest.raises(StoreUnavailable):
            future.result(10)  # type: ignore[attr-defined]  # a Future, of differing results
    until(lambda: store.problem is None)
    assert [store.read_now(lambda conn, key=key: instance.get(conn, key)) for key in ("one", "two")] == [None, None]


def test_a_statement_timeout_is_reported_and_keeps_the_session(store: Store, url: str) -> None:
    def slow(conn: Connection) -> None:
        conn.exec_driver_sql("SET LOCAL statement_timeout = '10ms'")
        conn.exec_driver_sql("SELECT pg_sleep(5)")

    session = store.write_now(lambda conn: conn.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
    with pytest.raises(StoreUnavailable):
        store.write_now(slow)
    store.write_now(_put("after"))
    assert session == store.write_now(lambda conn: conn.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())


def test_the_store_reconnects_after_a_server_restart(monkeypatch: pytest.MonkeyPatch, until: Until) -> None:
    monkeypatch.setattr(writer, "PROBE_SECONDS", 0.05)
    with cluster(require("postgresql")) as server:
        store = Store.open(server.new_database())
        try:
            server.stop()
            with pytest.raises(StoreUnavailable):
                store.write_now(_put("during"))
            with pytest.raises(StoreUnavailable):
                store.read_now(inbox.count_waiting)
            server.start()
            until(lambda: store.problem is None)
            store.write_now(_put("after"))
            assert store.read_now(lambda conn: instance.get(conn, "after")) == "x"
        finally:
            store.close_now()


def test_a_lost_session_is_detected_without_a_write(
    url: str, postgresql: Cluster, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    monkeypatch.setattr(writer, "IDLE_PROBE_SECONDS", 0.02)
    monkeypatch.setattr(writer, "PROBE_SECONDS", 0.02)
    monkeypatch.setattr("gateway.store.engine.postgresql._LOCK_WAIT", "50ms")
    store = Store.open(url)
    with psycopg.connect(url, autocommit=True) as rival:
        _wait_for_lock_then(rival, lambda: _cut_writer(postgresql, url))
        until(lambda: store.lost)
        assert store.problem is not None
        assert "another instance" in store.problem
    until(lambda: store.problem is None)
    assert not store.lost
    store.close_now()


def test_an_instance_that_was_taken_over_cannot_write(
    store: Store, postgresql: Cluster, url: str, until: Until
) -> None:
    with psycopg.connect(url, autocommit=True) as rival:
        _wait_for_lock_then(rival, lambda: _cut_writer(postgresql, url))
        with pytest.raises(StoreUnavailable):
            store.write_now(_put("during"))
    # As another instance does at its start: now the memory of this one is outdated.
    with psycopg.connect(url, autocommit=True) as rival:
        rival.execute("UPDATE instance SET value = 'skpayments-other' WHERE key = 'writer'")
    until(lambda: store.lost)
    for _ in range(2):
        with pytest.raises(StoreUnavailable) as error:
            store.write_now(_put("after"))
        assert "restart this one" in error.value.detail
    assert store.read_now(lambda conn: instance.get(conn, "after")) is None


def test_a_second_instance_takes_over_after_the_first_lost_its_session(
    store: Store, postgresql: Cluster, url: str, until: Until
) -> None:
    opened: list[Store] = []
    opening = threading.Thread(target=lambda: opened.append(Store.open(url)))
    opening.start()
    until(lambda: _waits_for_lock(postgresql))
    _cut_writer(postgresql, url)
    opening.join(10)
    with pytest.raises(StoreUnavailable):
        store.write_now(_put("first"))
    opened[0].write_now(_put("second"))
    opened[0].close_now()
    with pytest.raises(StoreUnavailable):
        store.write_now(_put("first"))
    assert store.lost


def test_an_instance_ends_its_own_lost_session_that_has_the_lock(
    store: Store, postgresql: Cluster, url: str, until: Until
) -> None:
    """The server may keep a session, with its lock, for a while after its client is gone."""
    name = store.write_now(lambda conn: conn.exec_driver_sql("SHOW application_name").scalar_one())
    ghost = psycopg.connect(url, autocommit=True, application_name=name)
    try:
        _wait_for_lock_then(ghost, lambda: _cut_writer(postgresql, url, except_pid=ghost.info.backend_pid))
        with pytest.raises(StoreUnavailable):
            store.write_now(_put("during"))
        until(lambda: store.problem is None)
        store.write_now(_put("after"))
    finally:
        ghost.close()


def _wait_for_lock_then(conn: psycopg.Connection, cut: Callable[[], None]) -> None:
    """Queue for the instance lock, end its session, and return with the lock."""
    waiting = threading.Thread(target=lambda: conn.execute("SELECT pg_advisory_lock(%s::bigint)", (_LOCK,)))
    waiting.start()
    cut()
    waiting.join(10)
    assert not waiting.is_alive()


def _waits_for_lock(server: Cluster) -> bool:
    return server.admin(sql.SQL("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")) != []


def _cut_writer(server: Cluster, url: str, except_pid: int = 0) -> None:
    """End the session that holds the instance lock, once another session waits for it."""
    while not _waits_for_lock(server):
        pass
    server.admin(
        sql.SQL(
            "SELECT pg_terminate_backend(l.pid, 10000) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
            " WHERE l.locktype = 'advisory' AND l.granted AND d.datname = %s AND l.pid <> %s"
        ),
        (url.rsplit("/", 1)[1], except_pid),
    )
