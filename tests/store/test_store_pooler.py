"""PgBouncer in transaction mode before PostgreSQL: the main process refuses it, a gate works through it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from servers.found import require
from servers.pgbouncer import pgbouncer
from servers.postgresql import Cluster
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from gateway.errors import ConfigError, StoreUnavailable
from gateway.store import Store, gate_changes
from gateway.store.change_signal import change_signal
from gateway.store.engine.change_notifications import ChangeNotifications
from gateway.store.engine.check import check_database
from gateway.store.gate_changes import ChangeKind
from gateway.store.opening import open_reader

pytestmark = pytest.mark.needs_postgresql
# As it is installed, and as it is set for programs that send startup parameters.
_IGNORED = "ignore_startup_parameters = options"
SETTINGS = [(), (_IGNORED,), (_IGNORED, "default_pool_size = 2")]


@pytest.fixture
def direct(postgresql: Cluster) -> str:
    return postgresql.new_database()


@pytest.fixture(params=SETTINGS, ids=["as installed", "options ignored", "two sessions"])
def pooled(request: pytest.FixtureRequest, postgresql: Cluster, direct: str) -> Iterator[str]:
    with pgbouncer(require("pgbouncer"), postgresql, *request.param) as port:
        yield make_url(direct).set(port=port).render_as_string()


def change(store: Store) -> None:
    store.write_now(lambda conn: gate_changes.record(conn, ChangeKind.TIER, "app", "u1"))


def test_the_main_process_refuses_a_pooler(direct: str, pooled: str) -> None:
    Store.open(direct).close_now()
    for opened in (Store.open, check_database):
        with pytest.raises(ConfigError, match="a connection pooler, such as PgBouncer"):
            opened(pooled)


def test_it_does_not_disturb_a_main_process_that_runs(direct: str, pooled: str) -> None:
    store = Store.open(direct)
    with pytest.raises(ConfigError):
        Store.open(pooled)
    change(store)
    assert store.read_now(gate_changes.last_number) == 1
    store.close_now()


async def test_a_reader_reads_through_it_and_cannot_write(direct: str, pooled: str) -> None:
    store = Store.open(direct)
    reader = open_reader(pooled)

    def repeated(conn: Connection) -> set[int]:
        """Psycopg prepares a statement that one transaction repeats five times; the session keeps it."""
        return {gate_changes.last_number(conn) for _ in range(8)}

    for number in range(1, 30):
        change(store)
        assert await asyncio.gather(*(reader.read(repeated) for _ in range(4))) == [{number}] * 4
    with pytest.raises((StoreUnavailable, DBAPIError)):
        await reader.read(lambda conn: conn.execute(text("DELETE FROM gate_changes")))
    assert len(store.read_now(lambda conn: gate_changes.after(conn, 0, 100)) or ()) == 29
    reader.close()
    store.close_now()


async def test_changes_are_polled_and_the_log_names_the_cause(
    direct: str, pooled: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store.open(direct)
    reader, signal = open_reader(pooled), change_signal(pooled)
    assert isinstance(signal, ChangeNotifications)
    for number in range(1, 4):
        change(store)
        async with asyncio.timeout(20):
            while await reader.read(gate_changes.last_number) < number:
                await signal.wait(1000)  # it returns after 100 ms
    async with asyncio.timeout(20):
        while "change_notifications_not_delivered" not in caplog.text:
            await signal.wait(1000)
    assert [row.message for row in caplog.records].count("change_notifications_not_delivered") == 1
    await signal.close()
    reader.close()
    store.close_now()


def test_a_direct_connection_is_no_pooler(direct: str) -> None:
    check_database(direct)
    store = Store.open(direct)
    change(store)
    store.close_now()
