"""Checks whether `Store.open` would refuse a database, without its lock and without writing."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from gateway.store.engine.errors import describe_error
from gateway.store.engine.opening import may_not_create, startup_error
from gateway.store.engine.ownership import check_owner, check_owner_of_file
from gateway.store.engine.pooler import driver_connection, refuse_pooler
from gateway.store.engine.postgresql import PostgreSQL
from gateway.store.engine.sqlite import cannot_use, file_of, refuse_network
from gateway.store.store import store_url


def check_database(database_url: str) -> None:
    """Another instance may be running. Raises `ConfigError`, and `StoreUnavailable` if the server cannot be reached."""
    url = store_url(database_url)
    if url.drivername == "sqlite":
        _check_file(file_of(url)[0])
    else:
        _check_server(PostgreSQL(url))


def _check_file(path: Path) -> None:
    refuse_network(path)
    folder = next(each for each in path.parents if each.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise cannot_use(str(path), f"{folder} is not a writable folder")
    if not path.exists():
        return
    if not path.is_file() or not os.access(path, os.R_OK | os.W_OK):
        raise cannot_use(str(path), "it is not a readable and writable file")
    try:
        check_owner_of_file(path)
    except SQLAlchemyError as error:
        raise cannot_use(str(path), describe_error(error)) from error


def _check_server(backend: PostgreSQL) -> None:
    try:
        with backend.reader.connect() as conn:
            refuse_pooler(backend.where, driver_connection(conn))
            check_owner(conn)
            if not conn.execute(text("SELECT has_schema_privilege(current_schema(), 'CREATE')")).scalar():
                raise may_not_create(backend.where)
    except SQLAlchemyError as error:
        problem = startup_error(backend, error)
        if problem is None:
            raise
        raise problem from error
    finally:
        backend.close()
