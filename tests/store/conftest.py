"""A store on each database: tests that name `conn` or `database_url` run once on SQLite and once on PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from servers.found import require
from servers.postgresql import Cluster, cluster
from sqlalchemy import Connection

from gateway.store import Store
from gateway.store.engine.migrate import migrate
from gateway.store.engine.postgresql import PostgreSQL
from gateway.store.engine.sqlite import SQLite
from gateway.store.store import store_url

DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.needs_postgresql)]


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Cluster]:
    """One server for the session, started when the first test needs it."""
    with cluster(require("postgresql")) as server:
        yield server


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh, empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    server: Cluster = request.getfixturevalue("postgresql")
    return server.new_database()


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """An open store on a fresh database of each kind."""
    opened = Store.open(database_url)
    yield opened
    opened.close_now()


@pytest.fixture(scope="session")
def _sqlite_connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    backend = SQLite(store_url(f"sqlite:///{tmp_path_factory.mktemp('store')}/contract.db"))
    with backend.connect_writer() as connection:
        migrate(connection)
        yield connection
    backend.close()


@pytest.fixture(scope="session")
def _postgresql_connection(postgresql: Cluster) -> Iterator[Connection]:
    backend = PostgreSQL(store_url(postgresql.new_database()))
    with backend.connect_writer() as connection:
        migrate(connection)
        yield connection
    backend.close()


@pytest.fixture(params=DATABASES)
def conn(request: pytest.FixtureRequest) -> Iterator[Connection]:
    """A connection to a migrated database of each kind; writes of a test are rolled back."""
    connection: Connection = request.getfixturevalue(f"_{request.param}_connection")
    with connection.begin() as transaction:
        yield connection
        transaction.rollback()


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Wait until a condition holds, and fail if it does not within ten seconds."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, "the condition was not true in time"
            time.sleep(0.005)

    return wait
