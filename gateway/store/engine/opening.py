"""Why a database cannot be opened, in an operator's words."""

from __future__ import annotations

import re

import psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from gateway.errors import ConfigError, SkpayError, StoreUnavailable
from gateway.store.engine.backend import Backend
from gateway.store.engine.errors import describe_error, is_database_failure, unavailable
from gateway.store.engine.sqlite import SQLite, cannot_use

# A connection that fails has no SQLSTATE in libpq, so the server's words are all there is to tell a wrong setting,
# which stays wrong, from a server that is away. What is not in this table counts as away.
_WRONG_SETTINGS: tuple[tuple[str, str], ...] = (
    (r"password authentication failed", "the user or the password is wrong"),
    (r"no password supplied", "the server wants a password: postgresql://user:password@host/name"),
    (r'database ".*" does not exist', "there is no such database; make it: createdb, or CREATE DATABASE"),
    (r'role ".*" does not exist', "there is no such user; make it: createuser, or CREATE ROLE … LOGIN"),
    (r"is not permitted to log in", "the user may not log in: ALTER ROLE … LOGIN"),
    (r"(Peer|Ident|GSSAPI|LDAP|PAM) authentication failed", "the server's pg_hba.conf does not let this user in"),
    (r"no pg_hba\.conf entry", "the server's pg_hba.conf has no line for this user, host and database"),
    (r"pg_hba\.conf rejects", "the server's pg_hba.conf refuses this user, host and database"),
    (r"does not support SSL", "the server has no TLS; take sslmode out, or set TLS up there"),
    (r"certificate|root\.crt", "the server's certificate does not verify; look at sslmode and sslrootcert"),
    (r"permission denied for database", "the user may not connect to it: GRANT CONNECT ON DATABASE … TO …"),
)


def startup_error(backend: Backend, error: SQLAlchemyError) -> SkpayError | None:
    """The error to tell instead of `error`, met while the database was opened; None for an internal error."""
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
    said = " ".join(describe_error(error).rpartition(" failed: ")[2].split())
    for pattern, meaning in _WRONG_SETTINGS:
        if re.search(pattern, said):
            return ConfigError([f"DATABASE_URL: {backend.where} cannot be opened: {meaning} ({said})"])
    remedy = "is it running, and are host and port right?"
    return StoreUnavailable(f"DATABASE_URL: {backend.where} cannot be reached: {said}; {remedy}")


def may_not_create(where: str) -> ConfigError:
    remedy = "make it the database's owner, or: GRANT CREATE ON SCHEMA public TO …"
    return ConfigError([f"DATABASE_URL: the user of {where} may not make tables there; {remedy}"])
