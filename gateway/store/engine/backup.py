"""Backups of an SQLite database while it is in use, and their restore while it is not."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection

from gateway.errors import ConfigError, InvalidInput
from gateway.store.engine.sqlite import file_of, take_lock
from gateway.store.store import Store, store_url

_HEADER = b"SQLite format 3\x00"
_SIDE_FILES = ("-wal", "-shm", "-journal")


def sqlite_file(database_url: str) -> Path | None:
    """The file of this database; None for PostgreSQL. Raises `ConfigError`."""
    url = store_url(database_url)
    return file_of(url)[0] if url.drivername == "sqlite" else None


def back_up(database: Path, target: Path) -> int:
    """Write a complete, checked copy of `database` to `target`, atomically, mode 600; returns its size in bytes.

    The database may be in use: the copy contains all committed data, including the WAL, and writers are not blocked.
    An earlier backup at `target` is replaced. Raises `InvalidInput`, `ConfigError`, `OSError`.
    """
    _refuse_target(database, target)
    with _temporary(target) as temporary:
        # VACUUM INTO accepts an empty file, which keeps its mode of 600.
        with contextlib.closing(_open(database)) as conn:
            _run(database, lambda: conn.execute("VACUUM INTO ?", (str(temporary),)))
        _check(temporary, target)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
            size = os.fstat(file.fileno()).st_size
        temporary.replace(target)
    _sync_folder(target.parent)
    return size


def restore(database_url: str, backup: Path, prepare: Callable[[Connection], None], now: int) -> Path | None:
    """Replace the database with a copy of `backup`; returns where the old one is kept, None if there was none.

    The copy is checked, migrated and passed to `prepare`, then renamed into place. After any failure the old database
    is unchanged. Raises `ConfigError` while a server runs or if the backup cannot be used.
    """
    database = file_of(store_url(database_url))[0]
    if not backup.is_file():
        raise InvalidInput(f"{backup}: there is no such file.")
    if database.exists() and backup.samefile(database):
        raise InvalidInput(f"{backup}: this is the database itself.")
    database.parent.mkdir(parents=True, exist_ok=True)
    lock = take_lock(database)
    try:
        with _temporary(database) as temporary:
            shutil.copyfile(backup, temporary)
            _check(temporary, backup)
            _prepare(temporary, prepare)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            kept = _keep(database, now)
            temporary.replace(database)
        _sync_folder(database.parent)
    finally:
        os.close(lock)
    return kept


def _refuse_target(database: Path, target: Path) -> None:
    if not database.is_file():
        raise ConfigError([f"DATABASE_URL: there is no database at {database} yet"])
    if not target.parent.is_dir():
        raise InvalidInput(f"{target.parent}: there is no such folder.")
    if target.is_symlink() or (target.exists() and not target.is_file()):
        raise InvalidInput(f"{target}: not a regular file.")
    own_files = {database.name + end for end in ("", ".lock", *_SIDE_FILES)}
    if target.name in own_files and target.parent.resolve() == database.parent.resolve():
        raise InvalidInput(f"{target}: this is the database itself.")
    if target.exists() and target.stat().st_size and not _is_sqlite(target):
        raise InvalidInput(f"{target}: exists already and is not a backup.")


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_HEADER)) == _HEADER


def _check(copy: Path, name: Path) -> None:
    """Raise `ConfigError`, with `name` in it, unless `copy` is an intact database of SKPayments."""
    if not _is_sqlite(copy):
        raise ConfigError([f"{name}: not an SQLite database"])
    with contextlib.closing(sqlite3.connect(f"file://{quote(str(copy))}?mode=ro&immutable=1", uri=True)) as conn:
        found = _run(name, lambda: conn.execute("PRAGMA integrity_check(1)").fetchone()[0])
        if found != "ok":
            raise ConfigError([f"{name}: damaged: {found}"])
        _run(name, lambda: conn.execute("SELECT version_num FROM alembic_version, customers LIMIT 1"))


def _prepare(copy: Path, prepare: Callable[[Connection], None]) -> None:
    """Migrate `copy` and run `prepare`; afterwards all data is in the one file, without a WAL."""
    lock = copy.with_name(copy.name + ".lock")
    try:
        store = Store.open(f"sqlite:///{copy}")
        try:
            store.write_now(prepare)
        finally:
            store.close_now()
        with contextlib.closing(_open(copy)) as conn:
            conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        for path in (lock, *(copy.with_name(copy.name + end) for end in _SIDE_FILES)):
            path.unlink(missing_ok=True)


def _keep(database: Path, now: int) -> Path | None:
    """Keep the old database under a second name, and remove files that would be taken for the new one's WAL."""
    if not database.exists():
        _remove_side_files(database)
        return None
    kept = database.with_name(f"{database.name}.before-restore-{now}")
    kept_log = kept.with_name(f"{kept.name}-wal")
    for source, name in ((database, kept), (database.with_name(f"{database.name}-wal"), kept_log)):
        if source.exists():
            _link(source, name)
    _sync_folder(database.parent)
    # Both names are the same file, so the checkpoint is in both. A damaged database keeps its WAL next to it.
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_open(database)) as conn:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if kept_log.exists() and kept_log.stat().st_size == 0:
        kept_log.unlink()
    _remove_side_files(database)
    return kept


def _link(source: Path, name: Path) -> None:
    try:
        os.link(source, name)
    except FileExistsError:
        raise ConfigError([f"{name}: exists already; retry in a second"]) from None
    except OSError:  # a file system without hard links
        shutil.copy2(source, name)


def _remove_side_files(database: Path) -> None:
    for end in _SIDE_FILES:
        database.with_name(database.name + end).unlink(missing_ok=True)
    _sync_folder(database.parent)


def _open(path: Path) -> sqlite3.Connection:
    # "rw" because a reader of a WAL database writes its index; "rwc" would create a missing file.
    return sqlite3.connect(f"file://{quote(str(path))}?mode=rw", uri=True, isolation_level=None, timeout=10)


def _run(path: Path, work: Callable[[], object]) -> object:
    try:
        return work()
    except sqlite3.Error as exc:
        raise ConfigError([f"{path}: cannot be used: {exc}"]) from exc


@contextlib.contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    """A new, empty file in the folder of `target`, mode 600, removed at the end unless it was renamed."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".new", dir=target.parent)
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
