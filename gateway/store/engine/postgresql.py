"""PostgreSQL: the writer's session holds the instance lock, so that nothing is committed without it."""

from __future__ import annotations

import uuid
from pathlib import Path

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, pool, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError

from gateway.errors import AlreadyRunning
from gateway.store import instance
from gateway.store.engine.backend import CHANNEL, CONNECTION_TIMEOUTS, READERS, WRITER, InstanceLost
from gateway.store.engine.pooler import connect_reader, driver_connection, refuse_pooler

_LOCK = 0x534B_5041_594D_454E
# How long to wait for a holder that is about to end: an instance that was just killed, or our own lost session.
_LOCK_WAIT = "2s"
_NOTIFY = text("SELECT pg_notify(:channel, :number)")
_HOLDERS = text(
    "SELECT a.pid, a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
    " WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND (l.classid::bigint << 32) | l.objid::bigint = :lock"
)


class PostgreSQL:
    """A database on a server. The writer's connection must be direct: a pooler would share its lock."""

    folder: Path | None = None

    def __init__(self, url: URL) -> None:
        self.where = url.set(drivername="postgresql", password=None, query={}).render_as_string()
        self._name = f"skpayments-{uuid.uuid4().hex}"
        self._started = False
        options = str(url.query.get("options", ""))
        common = {**CONNECTION_TIMEOUTS, "application_name": self._name}
        self._writer = create_engine(
            url,
            poolclass=pool.NullPool,
            hide_parameters=True,
            connect_args={
                **common,
                # A commit is on disk when it returns, whatever the server's default is.
                "options": f"{options} -c synchronous_commit=on -c lock_timeout=5s -c statement_timeout=30s",
            },
        )
        self.reader = reader_engine(url, self._name)

    def connect_writer(self) -> Connection:
        """A session that holds the lock. See `Backend`."""
        conn = self._writer.connect()
        try:
            refuse_pooler(self.where, driver_connection(conn))
            self._take_lock(conn)
            if self._started:
                self._check_mark(conn)
        except BaseException:
            conn.close()
            raise
        return conn

    def started(self, conn: Connection) -> None:
        """Mark the database as ours, to detect after a lost session whether another instance has run since."""
        with conn.begin():
            instance.put(conn, WRITER, self._name)
        self._started = True

    def announce_in(self, conn: Connection, number: int) -> None:
        conn.execute(_NOTIFY, {"channel": CHANNEL, "number": str(number)})

    def announce(self, number: int) -> None:
        """Nothing: the server notifies at the commit."""

    def close(self) -> None:
        self.reader.dispose()
        self._writer.dispose()

    def _take_lock(self, conn: Connection) -> None:
        with conn.begin():
            for holder in conn.execute(_HOLDERS, {"lock": _LOCK}).all():
                if holder.application_name == self._name:
                    # Our own lost session, which the server still considers alive.
                    conn.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": holder.pid})
        try:
            with conn.begin():
                conn.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_WAIT}'"))
                conn.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
        except OperationalError as error:
            if not isinstance(error.orig, psycopg.errors.LockNotAvailable):
                raise
            raise self._taken() from error

    def _check_mark(self, conn: Connection) -> None:
        with conn.begin():
            mark = instance.get(conn, WRITER)
        if mark != self._name:
            raise self._taken()

    def _taken(self) -> Exception:
        if self._started:
            return InstanceLost("another instance has taken this database over; restart this one")
        return AlreadyRunning(self.where)


def reader_engine(url: URL, application_name: str) -> Engine:
    """Connections that cannot write; one snapshot for each query, as in SQLite."""
    options = str(url.query.get("options", ""))
    engine = create_engine(
        url,
        pool_size=READERS,
        max_overflow=0,
        isolation_level="REPEATABLE READ",
        hide_parameters=True,
        connect_args={
            **CONNECTION_TIMEOUTS,
            "application_name": application_name,
            "options": f"{options} -c default_transaction_read_only=on -c statement_timeout=30s",
        },
    )
    event.listen(engine, "do_connect", lambda _dialect, _record, _args, parameters: connect_reader(**parameters))
    return engine
