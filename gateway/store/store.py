"""The store: one thread writes, a few read, on the database that DATABASE_URL names."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from gateway.errors import ConfigError
from gateway.setting_rules import DATABASE_URLS, database_problem
from gateway.store.engine.backend import Backend
from gateway.store.engine.migrate import migrate
from gateway.store.engine.opening import startup_error
from gateway.store.engine.ownership import check_owner_of_file
from gateway.store.engine.postgresql import PostgreSQL
from gateway.store.engine.sqlite import SQLite
from gateway.store.engine.writer import Write, Writer
from gateway.store.reader import Query, Reader

T = TypeVar("T")


class Store:
    """A write or query is a function of a connection. It must not commit, keep the connection or block.

    A failure of the database (full, locked, read-only, unreachable) is raised as `StoreUnavailable`; any other error
    of the function is raised as it is. After `StoreUnavailable` a write may be recorded nevertheless, if the
    connection broke during the commit: writes must be idempotent.
    """

    def __init__(self, backend: Backend, writer: Writer) -> None:
        self._backend = backend
        self._writer = writer
        self._reader = Reader(backend.reader)
        self._closed = False

    @classmethod
    def open(cls, database_url: str, *, clock: Callable[[], float] = time.time) -> Store:
        """Lock the database for this instance and migrate it to the newest schema.

        Raises `ConfigError` for a URL or file that cannot be used, a newer schema or another program's database,
        `AlreadyRunning` while another instance runs, and `StoreUnavailable` if PostgreSQL cannot be reached.
        """
        backend = _backend(database_url)
        try:
            conn = _prepare(backend)
        except BaseException:
            backend.close()
            raise
        return cls(backend, Writer(backend, conn, clock))

    async def write(self, write: Write[T]) -> T:
        """Run `write` in the writer thread; it is durable when this returns. Cancelling does not stop it."""
        return await asyncio.wrap_future(self._writer.submit(write))

    async def read(self, query: Query[T]) -> T:
        """Run `query` on one snapshot of the committed data. It cannot write."""
        return await self._reader.read(query)

    def write_now(self, write: Write[T]) -> T:
        """`write` for callers without an event loop."""
        return self._writer.submit(write).result()

    def read_now(self, query: Query[T]) -> T:
        """`read` for callers without an event loop."""
        return self._reader.read_now(query)

    async def close(self) -> None:
        """Finish the queued writes, then release the database. Idempotent."""
        await asyncio.to_thread(self.close_now)

    def close_now(self) -> None:
        """`close` for callers without an event loop."""
        if not self._closed:
            self._closed = True
            self._writer.close()
            self._reader.close()
            self._backend.close()

    @property
    def folder(self) -> Path | None:
        """The folder of the database files; None for PostgreSQL."""
        return self._backend.folder

    @property
    def problem(self) -> str | None:
        """Why writes fail, for the operator; None if they succeed."""
        return self._writer.problem

    @property
    def lost(self) -> bool:
        """Whether another instance has taken the database over; this one must be restarted."""
        return self._writer.lost

    @property
    def commits(self) -> int:
        """Transactions committed since the start."""
        return self._writer.commits

    @property
    def waiting(self) -> int:
        """Queued writes."""
        return self._writer.waiting


def _backend(database_url: str) -> Backend:
    url = store_url(database_url)
    return SQLite(url) if url.drivername == "sqlite" else PostgreSQL(url)


def store_url(database_url: str) -> URL:
    """The URL with our drivers. Errors do not quote it, because it may contain a password."""
    problem = database_problem(database_url)
    if problem:
        raise ConfigError([f"DATABASE_URL: {problem}"])
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError) as error:
        raise ConfigError([f"DATABASE_URL: expected {DATABASE_URLS}"]) from error
    return url.set(drivername="sqlite" if url.drivername.startswith("sqlite") else "postgresql+psycopg")


def _prepare(backend: Backend) -> Connection:
    """The writer's connection, to a database of the newest schema."""
    try:
        if isinstance(backend, SQLite):
            check_owner_of_file(backend.path)
        conn = backend.connect_writer()
        try:
            migrate(conn)
            backend.started(conn)
        except BaseException:
            conn.close()
            raise
    except SQLAlchemyError as error:
        problem = startup_error(backend, error)
        if problem is None:
            raise
        raise problem from error
    return conn
