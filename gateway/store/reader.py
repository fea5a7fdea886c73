"""Reads the store: each query on one snapshot, in a small pool of threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from gateway.errors import StoreUnavailable
from gateway.store.engine.backend import READERS
from gateway.store.engine.errors import is_database_failure, unavailable

T = TypeVar("T")
Query = Callable[[Connection], T]


class Reads(Protocol):
    """What can be read: a `Store` or a `Reader`."""

    async def read(self, query: Query[T]) -> T:
        """Run `query` on one snapshot of the committed data. Raises `StoreUnavailable`."""


class Reader:
    """A query is a function of a connection. It must not keep the connection.

    A failure of the database is raised as `StoreUnavailable`; any other error of the function is raised as it is.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="store-reader")
        self._closed = False

    async def read(self, query: Query[T]) -> T:
        """Run `query` on one snapshot of the committed data. It cannot write."""
        if self._closed:
            raise closed()
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.read_now, query)

    def read_now(self, query: Query[T]) -> T:
        """`read` for callers without an event loop."""
        if self._closed:
            raise closed()
        try:
            return self._read(query)
        except SQLAlchemyError as error:
            if not is_database_failure(error):
                raise
            raise unavailable(error) from error

    def close(self) -> None:
        """Finish the running queries. Idempotent."""
        self._closed = True
        self._threads.shutdown()
        self._engine.dispose()

    def _read(self, query: Query[T]) -> T:
        try:
            return self._query(query)
        except SQLAlchemyError as error:
            # A pooled connection that broke while idle says nothing about the database: retry on a new one.
            if not getattr(error, "connection_invalidated", False):
                raise
        return self._query(query)

    def _query(self, query: Query[T]) -> T:
        with self._engine.connect() as conn:
            return query(conn)


def closed() -> StoreUnavailable:
    return StoreUnavailable("The service is stopping.", detail="the store is closed")
