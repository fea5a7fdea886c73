"""Tells failures of the database from errors of a statement, and describes them for the operator."""

from __future__ import annotations

import sqlite3

import psycopg
from sqlalchemy import exc

from gateway.errors import StoreUnavailable

_MESSAGE = "The database cannot be used right now; retry shortly."
# By the low byte of SQLite's extended result code, which is the primary code.
_SQLITE_WORDS = {
    sqlite3.SQLITE_BUSY: "locked by another program",
    sqlite3.SQLITE_LOCKED: "locked by another program",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "read-only",
    sqlite3.SQLITE_PERM: "access denied",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_IOERR: "input/output error",
    sqlite3.SQLITE_CORRUPT: "damaged: restore a backup",
    sqlite3.SQLITE_NOTADB: "not an SQLite database",
}
# After these the connection and its settings are still usable.
_SQLITE_TRANSIENT = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL}
_STATEMENT_ERRORS = (exc.IntegrityError, exc.DataError, exc.ProgrammingError, exc.NotSupportedError)


def is_database_failure(error: BaseException) -> bool:
    """Whether the database failed, perhaps temporarily; False for an error of the statement."""
    if isinstance(error, exc.TimeoutError):
        return True
    if not isinstance(error, exc.DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    return not isinstance(error, _STATEMENT_ERRORS) and _sqlite_code(error) != sqlite3.SQLITE_ERROR


def needs_reconnect(error: BaseException) -> bool:
    """Whether the connection must be reopened, although its transaction survived the error."""
    code = _sqlite_code(error)
    if code is None:
        return isinstance(error, exc.DBAPIError) and error.connection_invalidated
    return code not in _SQLITE_TRANSIENT


def describe_error(error: BaseException) -> str:
    """The error in one line, without values."""
    cause = error.orig if isinstance(error, exc.DBAPIError) else error
    code = _sqlite_code(error)
    if code in _SQLITE_WORDS:
        return _SQLITE_WORDS[code]
    if isinstance(cause, psycopg.errors.DiskFull):
        return "the disk is full"
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__


def unavailable(error: BaseException) -> StoreUnavailable:
    """The error for callers; `error` is in its detail and its cause."""
    unavailable_error = StoreUnavailable(_MESSAGE, detail=f"{type(error).__name__}: {describe_error(error)}")
    unavailable_error.__cause__ = error
    return unavailable_error


def _sqlite_code(error: BaseException) -> int | None:
    cause = error.orig if isinstance(error, exc.DBAPIError) else error
    code = getattr(cause, "sqlite_errorcode", None)
    return None if code is None else int(code) & 0xFF
