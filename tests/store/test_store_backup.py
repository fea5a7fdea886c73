"""Backups while the database is in use, and their restore while it is not (T25)."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection

from gateway.errors import ConfigError, InvalidInput
from gateway.store import Store, inbox, instance
from gateway.store.engine import backup as files
from gateway.store.engine.backup import back_up, restore, sqlite_file


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "skpayments.db"


def url(database: Path) -> str:
    return f"sqlite:///{database}"


@pytest.fixture
def store(database: Path) -> Iterator[Store]:
    opened = Store.open(url(database))
    yield opened
    opened.close_now()


def put(store: Store, value: str) -> None:
    store.write_now(lambda conn: instance.put(conn, "word", value))


def word_in(path: Path) -> str:
    with closing(sqlite3.connect(f"file://{path}?mode=ro&immutable=1", uri=True)) as conn:
        return str(conn.execute("SELECT value FROM instance WHERE key = 'word'").fetchone()[0])


def word_of(database: Path) -> str | None:
    store = Store.open(url(database))
    try:
        return store.read_now(lambda conn: instance.get(conn, "word"))
    finally:
        store.close_now()


def nothing(conn: Connection) -> None:
    """For tests that need no preparation."""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_backup_contains_data_that_is_only_in_the_wal(store: Store, database: Path, tmp_path: Path) -> None:
    put(store, "acknowledged")
    copied = tmp_path / "plain-copy.db"
    copied.write_bytes(database.read_bytes())
    with pytest.raises((sqlite3.Error, TypeError)):
        word_in(copied)  # acknowledged data is only in the WAL
    target = tmp_path / "a.backup"
    assert back_up(database, target) == target.stat().st_size
    assert word_in(target) == "acknowledged"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert {each for each in names(tmp_path) if each.startswith(".")} == set()


def test_a_backup_during_writes_is_consistent(store: Store, database: Path, tmp_path: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            text = str(number)

            def both(conn: Connection, text: str = text) -> None:
                instance.put(conn, "word", text)
                instance.put(conn, "other", text)

            store.write_now(both)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(20):
            back_up(database, tmp_path / "a.backup")
            with closing(sqlite3.connect(tmp_path / "a.backup")) as conn:
                values = {row[0] for row in conn.execute("SELECT value FROM instance WHERE key IN ('word', 'other')")}
            assert len(values) <= 1
    finally:
        stop.set()
        writer.join()


def test_a_backup_replaces_only_an_older_backup(store: Store, database: Path, tmp_path: Path) -> None:
    put(store, "one")
    target = tmp_path / "a.backup"
    back_up(database, target)
    put(store, "two")
    back_up(database, target)
    assert word_in(target) == "two"
    (tmp_path / "apps.json").write_text("{}")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for refused in (database, tmp_path / "apps.json", tmp_path / "link", tmp_path, Path(f"{database}-wal"),
                    tmp_path / "nowhere" / "a.backup"):  # fmt: skip
        with pytest.raises(InvalidInput):
            back_up(database, refused)
    assert (tmp_path / "apps.json").read_text() == "{}"


def test_a_backup_of_a_missing_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no database"):
        back_up(tmp_path / "none.db", tmp_path / "a.backup")
    assert names(tmp_path) == set()


def test_a_restore_replaces_the_database_and_keeps_the_old_one_complete(tmp_path: Path, database: Path) -> None:
    store = Store.open(url(database))
    put(store, "backed up")
    back_up(database, tmp_path / "a.backup")
    put(store, "since then")
    # As after a kill: the last write is only in the WAL.
    left = {end: Path(f"{database}{end}").read_bytes() for end in ("", "-wal", "-shm")}
    store.close_now()
    for end, content in left.items():
        Path(f"{database}{end}").write_bytes(content)

    kept = restore(url(database), tmp_path / "a.backup", lambda conn: instance.put(conn, "mark", "yes"), 1234)

    assert kept == Path(f"{database}.before-restore-1234")
    assert word_in(kept) == "since then"
    assert names(tmp_path) == {"a.backup", database.name, kept.name, f"{database.name}.lock"}
    assert stat.S_IMODE(database.stat().st_mode) == 0o600
    assert word_of(database) == "backed up"
    assert word_in(tmp_path / "a.backup") == "backed up"
    reopened = Store.open(url(database))
    assert reopened.read_now(lambda conn: instance.get(conn, "mark")) == "yes"
    reopened.close_now()


def test_a_restore_replaces_a_missing_or_damaged_database(tmp_path: Path, database: Path) -> None:
    store = Store.open(url(database))
    put(store, "backed up")
    back_up(database, tmp_path / "a.backup")
    store.close_now()
    fresh = tmp_path / "new" / "folder" / "store.db"
    assert restore(url(fresh), tmp_path / "a.backup", nothing, 1) is None
    assert word_of(fresh) == "backed up"
    database.write_bytes(b"rubbish" * 1000)
    Path(f"{database}-wal").write_bytes(b"a log of rubbish")
    kept = restore(url(database), tmp_path / "a.backup", nothing, 2)
    assert kept is not None
    assert kept.read_bytes().startswith(b"rubbish")
    assert Path(f"{kept}-wal").exists()
    assert word_of(database) == "backed up"


def test_an_old_wal_never_stays_next_to_the_new_file(
    tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(url(database))
    put(store, "backed up")
    back_up(database, tmp_path / "a.backup")
    put(store, "since then")
    log = Path(f"{database}-wal").read_bytes()
    store.close_now()
    Path(f"{database}-wal").write_bytes(log)
    opened = files._open

    def fails(path: Path) -> sqlite3.Connection:
        if path == database:
            raise sqlite3.OperationalError
        return opened(path)

    monkeypatch.setattr(files, "_open", fails)
    kept = restore(url(database), tmp_path / "a.backup", nothing, 1)
    assert Path(f"{kept}-wal").read_bytes() == log
    assert not Path(f"{database}-wal").exists()
    assert word_of(database) == "backed up"


def test_a_restore_while_a_server_runs_is_refused(store: Store, database: Path, tmp_path: Path) -> None:
    put(store, "running")
    back_up(database, tmp_path / "a.backup")
    before = names(tmp_path)
    with pytest.raises(ConfigError, match="another instance"):
        restore(url(database), tmp_path / "a.backup", nothing, 1)
    assert names(tmp_path) == before


def _damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:12288] = os.urandom(8192)
    path.write_bytes(content)


def _foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("CREATE TABLE recipes (name TEXT)")


def _newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("UPDATE alembic_version SET version_num = '9999'")
        conn.commit()


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda path: path.write_bytes(b"not a database at all"), "not an SQLite database"),
        (_damaged, "(damaged|cannot be used)"),
        (_foreign, "cannot be used: no such table"),
        (_newer, "newer version"),
    ],
    ids=["not a database", "damaged", "another program's", "newer"],
)
def test_a_backup_that_cannot_be_used_changes_nothing(
    tmp_path: Path, database: Path, spoil: object, problem: str
) -> None:
    store = Store.open(url(database))
    put(store, "still here")
    for number in range(200):
        text = str(number)
        store.write_now(lambda conn, text=text: inbox.add(conn, "", text, "x", None, False, None, b"x" * 500, 1))
    back_up(database, tmp_path / "a.backup")
    store.close_now()
    spoil(tmp_path / "a.backup")  # type: ignore[operator]  # a table of functions
    before = names(tmp_path)
    with pytest.raises(ConfigError, match=problem):
        restore(url(database), tmp_path / "a.backup", nothing, 1)
    assert names(tmp_path) == before
    assert word_of(database) == "still here"


def test_a_failed_restore_leaves_the_old_database(tmp_path: Path, database: Path) -> None:
    store = Store.open(url(database))
    put(store, "still here")
    back_up(database, tmp_path / "a.backup")
    store.close_now()

    def fail(conn: Connection) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        restore(url(database), tmp_path / "a.backup", fail, 1)
    assert names(tmp_path) == {"a.backup", database.name, f"{database.name}.lock"}
    assert word_of(database) == "still here"


def test_a_restore_requires_a_file_other_than_the_database(tmp_path: Path, database: Path) -> None:
    Store.open(url(database)).close_now()
    for refused in (tmp_path / "none", tmp_path, database):
        with pytest.raises(InvalidInput):
            restore(url(database), refused, nothing, 1)


def test_a_postgresql_database_has_no_file() -> None:
    assert sqlite_file("postgresql://u@db/name") is None
    assert sqlite_file("sqlite:////data/x.db") == Path("/data/x.db")
