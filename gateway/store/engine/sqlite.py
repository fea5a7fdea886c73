"""SQLite: one file in WAL mode, synced at every commit, and a lock file next to it."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, pool
from sqlalchemy.engine import URL

from gateway.errors import AlreadyRunning, ConfigError
from gateway.store import instance
from gateway.store.engine.backend import READERS, WRITER
from gateway.store.engine.change_sockets import ChangeSender, folder_of

BUSY_TIMEOUT_SECONDS = 2.0
# WAL has an index in shared memory, which does not work across machines.
_NETWORK = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs",
    "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.rclone", "fuse.davfs", "davfs",
}  # fmt: skip


class SQLite:
    """A database file. Raises `ConfigError` if it cannot be written, locked or made durable there."""

    def __init__(self, url: URL) -> None:
        path, mode = file_of(url)
        self.path = path
        self.where = str(path)
        self.folder: Path | None = path.parent
        _make_folder(path.parent)
        refuse_network(path)
        self._lock = take_lock(path)
        self._readers = ChangeSender(folder_of(path))
        self._writer = _writer_engine(path, mode)
        self.reader = reader_engine(path)

    def connect_writer(self) -> Connection:
        return self._writer.connect()

    def started(self, conn: Connection) -> None:
        """Write once, so that a read-only file is detected now and not at the first event."""
        with conn.begin():
            instance.put(conn, WRITER, f"process {os.getpid()}")

    def announce_in(self, conn: Connection, number: int) -> None:
        """Nothing: a reader would be woken before the commit."""

    def announce(self, number: int) -> None:
        self._readers.send()

    def close(self) -> None:
        self._readers.close()
        self.reader.dispose()
        self._writer.dispose()
        os.close(self._lock)


def file_of(url: URL) -> tuple[Path, str]:
    """The file of a SQLite URL and the mode in which to open it. Raises `ConfigError`."""
    mode = url.query.get("mode", "rwc")
    if not url.database or url.database == ":memory:":
        raise ConfigError(["DATABASE_URL: a database in memory loses all data; use sqlite:////data/skpayments.db"])
    if set(url.query) - {"mode"} or mode not in ("rwc", "rw", "ro"):
        raise ConfigError(["DATABASE_URL: after a SQLite path only ?mode=rw, rwc or ro is allowed"])
    return Path(url.database).absolute(), str(mode)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(folder, error.strerror) from error


def refuse_network(path: Path) -> None:
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return  # not Linux: unknown
    kind = network_file_system(path.resolve(), mounts)
    if kind is not None:
        raise ConfigError(
            [
                f"DATABASE_URL: {path} is on a network file system ({kind}), where SQLite's WAL loses data;"
                " use a local volume, or PostgreSQL"
            ]
        )


def network_file_system(path: Path, mounts: str) -> str | None:
    """The type of the network file system of an absolute path, None if it is local.

    `mounts` is the text of /proc/self/mounts: device, mount point with octal escapes, type. A later line overrides an
    earlier one for the same mount point.
    """
    best, kind = Path("/"), ""
    for line in mounts.splitlines():
        words = line.split(" ")
        if len(words) < 3:
            continue
        escaped = words[1].encode("utf-8", "surrogateescape")
        point = Path(os.fsdecode(escaped.decode("unicode_escape").encode("latin-1")))
        if path.is_relative_to(point) and len(point.parts) >= len(best.parts):
            best, kind = point, words[2]
    return kind if kind in _NETWORK else None


def take_lock(path: Path) -> int:
    """Lock until the returned descriptor is closed. The lock file is never deleted: a new file would be a new lock."""
    name = path.with_name(path.name + ".lock")
    try:
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _cannot_write(path.parent, error.strerror) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise AlreadyRunning(str(path), holder) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _cannot_write(folder: Path, reason: str | None) -> ConfigError:
    return ConfigError(
        [
            f"DATABASE_URL: cannot write in {folder}: {reason};"
            f" mount a volume there that user {os.getuid()} may write, or point DATABASE_URL elsewhere"
        ]
    )


def cannot_use(where: str, reason: str) -> ConfigError:
    """The error for a file that exists but cannot be opened or migrated."""
    return ConfigError(
        [
            f"DATABASE_URL: cannot use {where}: {reason};"
            f" it and its folder must be writable by user {os.getuid()}, with free disk space"
        ]
    )


def _writer_engine(path: Path, mode: str) -> Engine:
    def connect() -> sqlite3.Connection:
        return _connect(path, mode, _set_up_writer)

    engine = create_engine("sqlite://", creator=connect, poolclass=pool.NullPool, hide_parameters=True)
    _begin_with(engine, "BEGIN IMMEDIATE")
    return engine


def reader_engine(path: Path) -> Engine:
    """Connections that cannot write. They wait for no lock: WAL shows each its own snapshot."""

    def connect() -> sqlite3.Connection:
        # "rw", because readers write the WAL index too; query_only forbids other writes.
        return _connect(path, "rw", lambda conn: conn.execute("PRAGMA query_only=ON"))

    engine = create_engine(
        "sqlite://",
        creator=connect,
        poolclass=pool.QueuePool,
        pool_size=READERS,
        max_overflow=0,
        hide_parameters=True,
    )
    _begin_with(engine, "BEGIN")
    return engine


def _connect(path: Path, mode: str, set_up: Callable[[sqlite3.Connection], object]) -> sqlite3.Connection:
    conn = sqlite3.connect(
        f"file://{quote(str(path))}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_SECONDS,
        isolation_level=None,  # BEGIN is sent explicitly, see _begin_with
        check_same_thread=False,  # the pools hand a connection to one thread at a time
        cached_statements=256,
    )
    try:
        set_up(conn)
    except BaseException:
        conn.close()
        raise
    return conn


def _set_up_writer(conn: sqlite3.Connection) -> None:
    _use_wal(conn)
    conn.execute("PRAGMA synchronous=FULL")
    conn.execute("PRAGMA foreign_keys=ON")


def _use_wal(conn: sqlite3.Connection) -> None:
    """Switch the file to WAL permanently. SQLite's busy timeout does not cover this."""
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            conn.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_with(engine: Engine, statement: str) -> None:
    @event.listens_for(engine, "begin")
    def _begin(conn: Connection) -> None:
        conn.exec_driver_sql(statement)
