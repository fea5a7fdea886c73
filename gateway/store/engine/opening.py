"""Explains to the operator why a database cannot be opened."""

from __future__ import annotations

import re

import psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from gateway.errors import ConfigError, SkpayError, StoreUnavailable
from gateway.store.engine.backend import Backend
from gateway.store.engine.errors import describe_error, is_database_failure, unavailable
from gateway.store.engine.sqlite import SQLite, cannot_use

# libpq gives no SQLSTATE for a failed connection, so only the server's message tells a wrong setting, which is
# permanent, from an unreachable server. A message that is not in this table means an unreachable server.
_WRONG_SETTINGS: tuple[tuple[str, str], ...] = (
    (r"password authentication failed", "the user or the password is wrong"),
    (r"no password supplied", "the server requires a password: postgresql://user:password@host/name"),
    (r'database ".*" does not exist', "there is no such database; create it: createdb, or CREATE DATABASE"),
    (r'role ".*" does not exist', "there is no such user; create it: createuser, or CREATE ROLE … LOGIN"),
    (r"is not permitted to log in", "the user may not log in: ALTER ROLE … LOGIN"),
    (r"(Peer|Ident|GSSAPI|LDAP|PAM) authentication failed", "the server's pg_hba.conf does not let this user in"),
    (r"no pg_hba\.conf entry", "the server's pg_hba.conf has no line for this user, host and database"),
    (r"pg_hba\.conf rejects", "the server's pg_hba.conf refuses this user, host and database"),
    (r"does not support SSL", "the server has no TLS; remove sslmode, or set up TLS there"),
    (r"certificate|root\.crt", "the server's certificate does not verify; check sslmode and sslrootcert"),
    (r"unsupported startup parameter", "it is a connection pooler, such as PgBouncer; connect to PostgreSQL directly"),
    (r"permission denied for database", "the user may not connect to it: GRANT CONNECT ON DATABASE … TO …"),
)


def startup_error(backend: Backend, error: SQLAlchemyError) -> SkpayError | None:
    """The error to raise instead of `error`, which occurred on opening the database; None for an internal error."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    if isinstance(cause, psycopg.errors.InsufficientPrivilege):
        return may_not_create(backend.where)
    if not is_database_failure(error):
        return None
    if isinstance(backend, SQLite):
        return cannot_use(backend.where, describe_error(error))
    if not isinstance(cause, psycopg.OperationalError) or cause.sqlstate is not None:
        return unavailable(error)
    # "connection failed: connection to server at "10.0.0.5", port 5432 failed: FATAL:  the reason"
    reason = " ".join(describe_error(error).rpartition(" failed: ")[2].split())
    for pattern, meaning in _WRONG_SETTINGS:
        if re.search(pattern, reason):
            return ConfigError([f"DATABASE_URL: {backend.where} cannot be opened: {meaning} ({reason})"])
    remedy = "is it running, and are host and port right?"
    return StoreUnavailable(f"DATABASE_URL: {backend.where} cannot be reached: {reason}; {remedy}")


def may_not_create(where: str) -> ConfigError:
    remedy = "make this user the owner of the database, or: GRANT CREATE ON SCHEMA public TO …"
    return ConfigError([f"DATABASE_URL: the user of {where} may not create tables there; {remedy}"])
