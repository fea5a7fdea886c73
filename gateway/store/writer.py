"""The one writer: a thread that commits all that is waiting at once, a savepoint per job."""

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
from gateway.store import instance
from gateway.store.backend import Backend, InstanceLost
from gateway.store.trouble import is_trouble, spoils_connection, unavailable, words

T = TypeVar("T")
Job = Callable[[Connection], T]

MAX_WAITING = 10_000
MAX_BATCH = 500
# While something is wrong the writer tries by itself, so that readiness returns without a request.
PROBE_SECONDS = 1.0
IDLE_PROBE_SECONDS = 10.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Stats:
    """Since the start: committed transactions, and jobs done in them."""

    commits: int = 0
    jobs: int = 0


@dataclass(slots=True, eq=False)
class _Waiting:
    job: Job[Any]
    future: Future[Any]
    value: Any = None
    error: BaseException | None = None


class _TransactionGone(Exception):
    """The database has ended the transaction by itself, and with it what earlier jobs of the batch wrote."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause


class Writer:
    """Takes a connected writer's connection over. `problem` is what keeps it from writing, None if nothing does."""

    def __init__(self, backend: Backend, conn: Connection, clock: Callable[[], float]) -> None:
        self.stats = Stats()
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

    def submit(self, job: Job[T]) -> Future[T]:
        """Queue a job. The future is done once the job is durable, or has failed; it cannot be cancelled.

        Raises `StoreUnavailable` if the store is closed or far too much is waiting.
        """
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        with self._gate:
            if self._closed:
                raise StoreUnavailable("The service is stopping.", detail="the store is closed")
            if self._queue.qsize() >= MAX_WAITING:
                raise StoreUnavailable(
                    "Too much is waiting to be recorded; try again shortly.", detail=f"{MAX_WAITING} jobs wait"
                )
            self._queue.put(_Waiting(job, future))
        return future

    def close(self) -> None:
        """Finish what is queued, then stop. Twice is once."""
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
        """All that is waiting, up to the limit, and whether more may come; nothing after a while without work."""
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
        """Run and commit a batch, then tell every caller."""
        try:
            trouble = self._commit(batch)
        except Exception as error:  # whatever it is, callers must hear of it and the thread must live
            trouble = error.cause if isinstance(error, _TransactionGone) else error
            for waiting in batch:
                waiting.error = unavailable(trouble)
            self._disconnect()
        self._note(trouble)
        for waiting in batch:
            if waiting.error is None:
                waiting.future.set_result(waiting.value)
            else:
                waiting.future.set_exception(waiting.error)

    def _commit(self, batch: Sequence[_Waiting]) -> Exception | None:
        """Run the jobs in one transaction. Returns the trouble that one of them met, if any, the others being kept."""
        conn = self._connection()
        # A job alone needs no savepoint: the transaction is one.
        run = self._alone if len(batch) == 1 else self._beside_others
        with conn.begin() as transaction:
            troubles = [run(conn, transaction, waiting) for waiting in batch]
        self.stats.commits += 1
        self.stats.jobs += len(batch)
        trouble = next((trouble for trouble in troubles if trouble is not None), None)
        if trouble is not None and spoils_connection(trouble):
            self._disconnect()
        return trouble

    @staticmethod
    def _alone(conn: Connection, transaction: Transaction, waiting: _Waiting) -> Exception | None:
        trouble = _attempt(conn, waiting)
        if waiting.error is not None:
            transaction.rollback()
        return trouble

    @staticmethod
    def _beside_others(conn: Connection, _transaction: Transaction, waiting: _Waiting) -> Exception | None:
        conn.exec_driver_sql("SAVEPOINT job")
        trouble = _attempt(conn, waiting)
        try:
            if waiting.error is not None:
                conn.exec_driver_sql("ROLLBACK TO SAVEPOINT job")
            conn.exec_driver_sql("RELEASE SAVEPOINT job")
        except SQLAlchemyError as error:
            raise _TransactionGone(trouble or error) from error
        return trouble

    def _connection(self) -> Connection:
        if self._conn is None:
            self._conn = self._backend.connect_writer()
        return self._conn

    def _disconnect(self) -> None:
        if self._conn is not None:
            with suppress(DBAPIError):  # it is given up, whatever it says to that
                self._conn.close()
            self._conn = None

    def _probe(self) -> None:
        """Without work: look whether the connection stands; while something is wrong, whether a write passes again."""
        if self.problem is None:
            self._serve([_Waiting(_look, Future())])
        else:
            seen_at = str(int(self._clock()))
            self._serve([_Waiting(lambda conn: instance.put(conn, "probe", seen_at), Future())])

    def _note(self, trouble: Exception | None) -> None:
        """Remember what is wrong, and say it once in the log."""
        before = self.problem
        self.lost = isinstance(trouble, InstanceLost)
        if trouble is None:
            self.problem = None
            if before is not None:
                log.info("store_recovered", extra=fields(database=self._backend.where, was=before))
            return
        self.problem = f"{self._backend.where}: {words(trouble)}"
        if self.problem != before:
            known = self.lost or is_trouble(trouble)
            log.error(
                "store_failed",
                exc_info=None if known else trouble,
                extra=fields(database=self._backend.where, problem=words(trouble)),
            )


def _attempt(conn: Connection, waiting: _Waiting) -> Exception | None:
    """Run one job and keep its value or its error. Returns the trouble of the database that was its error, if any."""
    try:
        waiting.value = waiting.job(conn)
    except BaseException as error:
        waiting.error = error
        if isinstance(error, Exception) and is_trouble(error):
            waiting.error = unavailable(error)
            return error
    return None


def _look(conn: Connection) -> None:
    conn.exec_driver_sql("SELECT 1")
