"""The store: durable writes by one thread, reads by a few, on whichever database DATABASE_URL names."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from gateway.errors import ConfigError, StoreUnavailable
from gateway.setting_rules import DATABASE_URLS, database_problem
from gateway.store.engine.backend import Backend
from gateway.store.engine.errors import is_database_failure, unavailable
from gateway.store.engine.migrate import migrate
from gateway.store.engine.opening import startup_error
from gateway.store.engine.ownership import check_owner_of_file
from gateway.store.engine.postgresql import PostgreSQL
from gateway.store.engine.sqlite import READERS, SQLite
from gateway.store.engine.writer import Job, Stats, Writer

T = TypeVar("T")


class Store:
    """A job or query is a function of a connection. It must not commit, keep the connection, or do anything slow.

    An error that the database reports of itself (full, locked, read-only, gone) is told as `StoreUnavailable`;
    whatever else a job raises, its caller gets. After `StoreUnavailable` a write may have been recorded all the
    same, if the connection broke at the commit: write so that doing it again changes nothing.
    """

    def __init__(self, backend: Backend, writer: Writer) -> None:
        self._backend = backend
        self._writer = writer
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-reader")
        self._closed = False

    @classmethod
    def open(cls, database_url: str, *, clock: Callable[[], float] = time.time) -> Store:
        """Take the database for this instance and bring it to the newest schema.

        Raises `ConfigError` for a URL or file that cannot be used, a newer schema or another program's, and
        `AlreadyRunning` while another instance runs; `StoreUnavailable` if PostgreSQL cannot be reached.
        """
        backend = _backend(database_url)
        try:
            conn = _prepare(backend)
        except BaseException:
            backend.close()
            raise
        return cls(backend, Writer(backend, conn, clock))

    async def write(self, job: Job[T]) -> T:
        """Run `job` in the writer; its changes are on disk when this returns. Cancelling does not stop it."""
        return await asyncio.wrap_future(self._writer.submit(job))

    async def read(self, query: Job[T]) -> T:
        """Run `query` on one snapshot of what is committed. It cannot write."""
        if self._closed:
            raise _closed()
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.read_now, query)

    def write_now(self, job: Job[T]) -> T:
        """The same as `write` where no event loop runs."""
        return self._writer.submit(job).result()

    def read_now(self, query: Job[T]) -> T:
        """The same as `read` where no event loop runs."""
        if self._closed:
            raise _closed()
        try:
            return self._read(query)
        except SQLAlchemyError as error:
            if not is_database_failure(error):
                raise
            raise unavailable(error) from error

    async def close(self) -> None:
        """Finish the writes that are queued, then give the database up. Twice is once."""
        await asyncio.to_thread(self.close_now)

    def close_now(self) -> None:
        """The same as `close` where no event loop runs."""
        if not self._closed:
            self._closed = True
            self._writer.close()
            self._readers.shutdown()
            self._backend.close()

    @property
    def folder(self) -> Path | None:
        """The folder of the database's files; None where they are another server's."""
        return self._backend.folder

    @property
    def problem(self) -> str | None:
        """Why nothing can be written, for the operator; None if it can."""
        return self._writer.problem

    @property
    def lost(self) -> bool:
        """Whether another instance took the database over; only a restart helps."""
        return self._writer.lost

    @property
    def stats(self) -> Stats:
        return self._writer.stats

    @property
    def waiting(self) -> int:
        """How many writes are queued."""
        return self._writer.waiting

    def _read(self, query: Job[T]) -> T:
        try:
            return self._query(query)
        except SQLAlchemyError as error:
            # A pooled connection that broke while it was idle tells nothing about the database: ask on a fresh one.
            if not getattr(error, "connection_invalidated", False):
                raise
        return self._query(query)

    def _query(self, query: Job[T]) -> T:
        with self._backend.reader.connect() as conn:
            return query(conn)


def _closed() -> StoreUnavailable:
    return StoreUnavailable("The service is stopping.", detail="the store is closed")


def _backend(database_url: str) -> Backend:
    url = store_url(database_url)
    return SQLite(url) if url.drivername == "sqlite" else PostgreSQL(url)


def store_url(database_url: str) -> URL:
    """The address with the drivers we use. An error does not quote it: a password may be in it."""
    problem = database_problem(database_url)
    if problem:
        raise ConfigError([f"DATABASE_URL: {problem}"])
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError) as error:
        raise ConfigError([f"DATABASE_URL: expected {DATABASE_URLS}"]) from error
    return url.set(drivername="sqlite" if url.drivername.startswith("sqlite") else "postgresql+psycopg")


def _prepare(backend: Backend) -> Connection:
    """A writer's connection on the newest schema."""
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
