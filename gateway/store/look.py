"""What `Store.open` would refuse, found without a lock and without writing."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from gateway.store.opening import may_not_create, why_not
from gateway.store.ownership import check_owner, check_owner_of_file
from gateway.store.postgresql import PostgreSQL
from gateway.store.sqlite import cannot_use, file_of, refuse_network
from gateway.store.store import store_url
from gateway.store.trouble import words


def look(database_url: str) -> None:
    """Another instance may run meanwhile. Raises `ConfigError`, and `StoreUnavailable` for a server that is away."""
    url = store_url(database_url)
    if url.drivername == "sqlite":
        _look_at_file(file_of(url)[0])
    else:
        _look_at_server(PostgreSQL(url))


def _look_at_file(path: Path) -> None:
    refuse_network(path)
    folder = next(each for each in path.parents if each.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise cannot_use(str(path), f"{folder} is no folder that can be written in")
    if not path.exists():
        return
    if not path.is_file() or not os.access(path, os.R_OK | os.W_OK):
        raise cannot_use(str(path), "it is no file that can be read and written")
    try:
        check_owner_of_file(path)
    except SQLAlchemyError as error:
        raise cannot_use(str(path), words(error)) from error


def _look_at_server(backend: PostgreSQL) -> None:
    try:
        with backend.reader.connect() as conn:
            check_owner(conn)
            if not conn.execute(text("SELECT has_schema_privilege(current_schema(), 'CREATE')")).scalar():
                raise may_not_create(backend.where)
    except SQLAlchemyError as error:
        told = why_not(backend, error)
        if told is None:
            raise
        raise told from error
    finally:
        backend.close()
