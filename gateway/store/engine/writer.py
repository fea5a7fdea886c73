"""The writer thread: commits all queued writes in one transaction, with a savepoint for each."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Transaction
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from gateway.errors import StoreUnavailable
from gateway.log import fields
from gateway.store import gate_changes, instance
from gateway.store.engine.backend import Backend, InstanceLost
from gateway.store.engine.errors import describe_error, is_database_failure, needs_reconnect, unavailable

T = TypeVar("T")
Write = Callable[[Connection], T]

MAX_WAITING = 10_000
MAX_BATCH = 500
# After a failure the writer probes the database by itself, so that readiness returns without a request.
PROBE_SECONDS = 1.0
IDLE_PROBE_SECONDS = 10.0

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Waiting:
    write: Write[Any]
    future: Future[Any]
    value: Any = None
    error: BaseException | None = None


class _TransactionGone(Exception):
    """The database has aborted the transaction, and with it the earlier writes of the batch."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause


class Writer:
    """Owns the one connection that writes. `problem`: why it cannot write now, None if it can."""

    def __init__(self, backend: Backend, conn: Connection, clock: Callable[[], float]) -> None:
        self.commits = 0
        self.problem: str | None = None
        self.lost = False
        self._backend = backend
        self._clock = clock
        self._conn: Connection | None = conn
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    def submit(self, write: Write[T]) -> Future[T]:
        """Queue a write. The future is done once the write is durable or has failed; it cannot be cancelled.

        Raises `StoreUnavailable` if the store is closed or the queue is full.
        """
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        with self._gate:
            if self._closed:
                raise StoreUnavailable("The service is stopping.", detail="the store is closed")
            if self._queue.qsize() >= MAX_WAITING:
                raise StoreUnavailable(
                    "Too many writes are queued; retry shortly.", detail=f"{MAX_WAITING} writes are queued"
                )
            self._queue.put(_Waiting(write, future))
        return future

    def close(self) -> None:
        """Finish the queued writes, then stop. Idempotent."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        open_ = True
        while open_:
            batch, open_ = self._take()
            if batch:
                self._serve(batch)
            elif open_:
                self._probe()
        self._disconnect()

    def _take(self) -> tuple[list[_Waiting], bool]:
        """The queued writes, `MAX_BATCH` at most, and whether the queue is still open. Empty after a timeout."""
        batch: list[_Waiting] = []
        try:
            item = self._queue.get(timeout=IDLE_PROBE_SECONDS if self.problem is None else PROBE_SECONDS)
            while item is not None:
                batch.append(item)
                if len(batch) == MAX_BATCH:
                    return batch, True
                item = self._queue.get_nowait()
        except queue.Empty:
            return batch, True
        return batch, False

    def _serve(self, batch: Sequence[_Waiting]) -> None:
        """Run and commit a batch, then resolve the futures."""
        try:
            failure = self._commit(batch)
        except Exception as error:  # the callers get it, and the thread must survive
            failure = error.cause if isinstance(error, _TransactionGone) else error
            for waiting in batch:
                waiting.error = unavailable(failure)
            self._disconnect()
        self._set_problem(failure)
        for waiting in batch:
            if waiting.error is None:
                waiting.future.set_result(waiting.value)
            else:
                waiting.future.set_exception(waiting.error)

    def _commit(self, batch: Sequence[_Waiting]) -> Exception | None:
        """Run the writes in one transaction. Returns the first database failure of one of them; the others are kept."""
        conn = self._connection()
        gate_changes.discard(conn)
        # A single write needs no savepoint: it can roll the transaction back.
        run = self._in_own_transaction if len(batch) == 1 else self._in_savepoint
        number = None
        with conn.begin() as transaction:
            failures = [run(conn, transaction, waiting) for waiting in batch]
            if transaction.is_active:
                number = gate_changes.number_recorded(conn, int(self._clock()))
                if number is not None:
                    self._backend.announce_in(conn, number)
        self.commits += 1
        if number is not None:
            self._backend.announce(number)
        failure = next((failure for failure in failures if failure is not None), None)
        if failure is not None and needs_reconnect(failure):
            self._disconnect()
        return failure

    @staticmethod
    def _in_own_transaction(conn: Connection, transaction: Transaction, waiting: _Waiting) -> Exception | None:
        failure = _attempt(conn, waiting)
        if waiting.error is not None:
            transaction.rollback()
        return failure

    @staticmethod
    def _in_savepoint(conn: Connection, _transaction: Transaction, waiting: _Waiting) -> Exception | None:
        recorded = gate_changes.recorded(conn)
        conn.exec_driver_sql("SAVEPOINT one_write")
        failure = _attempt(conn, waiting)
        try:
            if waiting.error is not None:
                conn.exec_driver_sql("ROLLBACK TO SAVEPOINT one_write")
                gate_changes.discard(conn, recorded)
            conn.exec_driver_sql("RELEASE SAVEPOINT one_write")
        except SQLAlchemyError as error:
            raise _TransactionGone(failure or error) from error
        return failure

    def _connection(self) -> Connection:
        if self._conn is None:
            self._conn = self._backend.connect_writer()
        return self._conn

    def _disconnect(self) -> None:
        if self._conn is not None:
            with suppress(DBAPIError):  # it is discarded anyway
                self._conn.close()
            self._conn = None

    def _probe(self) -> None:
        """Check an idle connection; after a failure, check whether a write succeeds."""
        if self.problem is None:
            self._serve([_Waiting(_check_connection, Future())])
        else:
            probed_at = str(int(self._clock()))
            self._serve([_Waiting(lambda conn: instance.put(conn, "probe", probed_at), Future())])

    def _set_problem(self, failure: Exception | None) -> None:
        """Set `problem` and log a change of it once."""
        before = self.problem
        self.lost = isinstance(failure, InstanceLost)
        if failure is None:
            self.problem = None
            if before is not None:
                log.info("store_recovered", extra=fields(database=self._backend.where, was=before))
            return
        self.problem = f"{self._backend.where}: {describe_error(failure)}"
        if self.problem != before:
            known = self.lost or is_database_failure(failure)
            log.error(
                "store_failed",
                exc_info=None if known else failure,
                extra=fields(database=self._backend.where, problem=describe_error(failure)),
            )


def _attempt(conn: Connection, waiting: _Waiting) -> Exception | None:
    """Run one write and keep its value or error. Returns the error if it is a failure of the database."""
    try:
        waiting.value = waiting.write(conn)
    except BaseException as error:
        waiting.error = error
        if isinstance(error, Exception) and is_database_failure(error):
            waiting.error = unavailable(error)
            return error
    return None


def _check_connection(conn: Connection) -> None:
    conn.exec_driver_sql("SELECT 1")
