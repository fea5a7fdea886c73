"""Opens a database for reading only: for a process beside the one that writes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from gateway.errors import StoreUnavailable
from gateway.store.engine import postgresql, sqlite
from gateway.store.engine.backup import sqlite_file
from gateway.store.engine.errors import describe_error
from gateway.store.engine.ownership import newest_revision
from gateway.store.reader import Query, Reader, T
from gateway.store.store import store_url

# Of the options in a PostgreSQL URL, those that name the server, such as the folder of its socket.
_SERVER = {"host", "hostaddr", "port", "service"}


def database_name(database_url: str) -> str:
    """Names the database without user and password: the same for everybody who opens it by this address."""
    path = sqlite_file(database_url)
    if path is not None:
        return str(path)
    url = store_url(database_url)
    query = {name: value for name, value in url.query.items() if name in _SERVER}
    named = URL.create("postgresql", host=url.host, port=url.port, database=url.database, query=query)
    return named.render_as_string()


def open_reader(database_url: str) -> Reader:
    """Raises `ConfigError`, and `StoreUnavailable` while there is no database of this version: the process that writes
    creates and migrates it."""
    url, path, where = store_url(database_url), sqlite_file(database_url), database_name(database_url)
    if path is not None:
        sqlite.refuse_network(path)
        engine = sqlite.reader_engine(path)
    else:
        engine = postgresql.reader_engine(url, f"skpayments-gate-{os.getpid()}")
    try:
        _check_revision(engine, where)
    except BaseException:
        engine.dispose()
        raise
    return Reader(engine) if path is None else _FileReader(engine, path)


class ReaderWhenOpen:
    """Reads a database that may be away, or not created yet: each read tries to open it until one has."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._opening = asyncio.Lock()
        self._reader: Reader | None = None

    async def read(self, query: Query[T]) -> T:
        """As `Reader.read`. Raises `ConfigError` for a URL or file that cannot be used."""
        async with self._opening:
            if self._reader is None:
                self._reader = await asyncio.to_thread(open_reader, self._database_url)
        return await self._reader.read(query)

    def close(self) -> None:
        """Finish the running queries."""
        if self._reader is not None:
            self._reader.close()


class _FileReader(Reader):
    """Of an SQLite file that a restore may replace: open connections would go on reading the old one."""

    def __init__(self, engine: Engine, path: Path) -> None:
        super().__init__(engine)
        self._path = path
        self._file = _identity(path)

    def _query(self, query: Query[T]) -> T:
        found = _identity(self._path)
        if found != self._file:
            self._engine.dispose()
            self._file = found
        return super()._query(query)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _check_revision(engine: Engine, where: str) -> None:
    try:
        with engine.connect() as conn:
            revision = _revision(conn)
    except SQLAlchemyError as error:
        raise StoreUnavailable("The database cannot be read.", detail=f"{where}: {describe_error(error)}") from error
    if revision != newest_revision():
        detail = f"{where}: has the schema {revision or 'of no version'}, this program reads {newest_revision()}"
        raise StoreUnavailable("The database is of another version.", detail=detail)


def _revision(conn: Connection) -> str | None:
    if not inspect(conn).has_table("alembic_version"):
        return None
    return conn.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
