"""Opening a database: refused URLs and files, one instance at a time, migrations that survive a kill."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from servers.postgresql import Cluster
from sqlalchemy import Connection, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from gateway.errors import ConfigError, StoreUnavailable
from gateway.store import Store, inbox, instance, store
from gateway.store.engine.check import check_database
from gateway.store.engine.opening import startup_error
from gateway.store.engine.postgresql import PostgreSQL
from gateway.store.engine.sqlite import network_file_system
from gateway.store.store import store_url


def _refused(url: str) -> str:
    with pytest.raises(ConfigError) as error:
        Store.open(url)
    [problem] = error.value.problems
    assert problem.startswith("DATABASE_URL: ")
    return problem


@pytest.mark.parametrize(
    ("url", "driver", "database"),
    [
        ("sqlite:///data/x.db", "sqlite", "data/x.db"),
        ("sqlite:////data/x.db", "sqlite", "/data/x.db"),
        ("postgres://u:p@db/name", "postgresql+psycopg", "name"),
        ("postgresql://u:p@db/name?sslmode=require", "postgresql+psycopg", "name"),
        ("postgresql+psycopg://u:p@db/name", "postgresql+psycopg", "name"),
    ],
)
def test_schemes_are_rewritten_to_our_drivers(url: str, driver: str, database: str) -> None:
    rewritten = store.store_url(url)
    assert (rewritten.drivername, rewritten.database) == (driver, database)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mysql://root:hunter2@db/name", "names a MySQL database, which is not supported; expected sqlite:"),
        ("hunter2", "expected sqlite:"),
        ("postgresql://u:hunter2@db:port/name", "has a port that is not a number"),
        ("", "expected sqlite:"),
        ("sqlite://", "a database in memory loses all data"),
        ("sqlite:///:memory:", "a database in memory loses all data"),
        ("sqlite:///x.db?cache=hunter2", "only ?mode="),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_quoting_it(url: str, expected: str) -> None:
    problem = _refused(url)
    assert expected in problem
    assert "hunter2" not in problem


def test_missing_folders_are_created_and_a_relative_path_is_resolved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Store.open("sqlite:///deep/er/store ?#%41.db".replace("?", "%3F")).close_now()
    assert [path.name for path in (tmp_path / "deep/er").glob("*.db")] == ["store %3F#%41.db"]


def test_an_extra_slash_names_the_same_file(tmp_path: Path) -> None:
    Store.open(f"sqlite:////{tmp_path}/store.db").close_now()
    assert (tmp_path / "store.db").is_file()


def test_a_folder_that_cannot_be_created_is_refused_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    problem = _refused(f"sqlite:///{tmp_path}/file/store.db")
    assert f"cannot write in {tmp_path}/file" in problem
    assert "mount a volume" in problem


def test_a_folder_that_cannot_be_written_is_refused_with_its_path() -> None:
    # /proc takes no files, not even from root.
    problem = _refused("sqlite:////proc/store.db")
    assert "cannot write in /proc" in problem
    assert f"user {os.getuid()}" in problem


def test_t11_a_read_only_file_is_refused_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    Store.open(f"sqlite:///{path}").close_now()
    problem = _refused(f"sqlite:///{path}?mode=ro")
    assert f"cannot use {path}: read-only" in problem


def test_a_file_that_is_not_a_database_is_refused_and_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_text("this is not a database " * 100)
    assert f"cannot use {path}: not an SQLite database" in _refused(f"sqlite:///{path}")
    assert path.read_text() == "this is not a database " * 100


def test_a_locked_database_is_refused_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.store.engine.sqlite.BUSY_TIMEOUT_SECONDS", 0.01)
    with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert "locked by another program" in _refused(f"sqlite:///{tmp_path}/store.db")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/data/x.db", "nfs4"),
        ("/database/x.db", None),
        ("/data/local/x.db", None),
        ("/with space/x.db", "cifs"),
        ("/twice/x.db", "nfs"),
        ("/x.db", None),
    ],
)
def test_t8_a_network_file_system_is_detected_by_its_mount(path: str, kind: str | None) -> None:
    mounts = (
        "overlay / overlay rw 0 0\nserver:/ /data nfs4 rw 0 0\n/dev/sda /data/local ext4 rw 0 0\n"
        "//s/x /with\\040space cifs rw 0 0\n/dev/sda /twice ext4 rw 0 0\nserver:/y /twice nfs rw 0 0\nrubbish\n"
    )
    assert network_file_system(Path(path), mounts) == kind


def test_t8_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.store.engine.sqlite.network_file_system", lambda _path, _mounts: "nfs4")
    assert "network file system (nfs4)" in _refused(f"sqlite:///{tmp_path}/store.db")


def test_a_server_that_cannot_be_reached_is_unavailable() -> None:
    with pytest.raises(StoreUnavailable) as error:
        Store.open("postgresql://u:hunter2@127.0.0.1:1/name")
    assert "hunter2" not in str(error.value) + error.value.detail


def test_a_database_of_a_newer_version_is_refused(database_url: str) -> None:
    opened = Store.open(database_url)
    opened.write_now(lambda conn: conn.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'"))
    opened.close_now()
    assert "newer version" in _refused(database_url)


def test_a_second_instance_is_refused_until_the_first_has_stopped(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.engine.postgresql._LOCK_WAIT", "50ms")
    first = Store.open(database_url)
    problem = _refused(database_url)
    assert "another instance" in problem
    assert "stop it first" in problem
    first.write_now(lambda conn: instance.put(conn, "still", "here"))
    first.close_now()
    Store.open(database_url).close_now()


def test_a_failed_open_releases_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_text("this is not a database " * 100)
    _refused(f"sqlite:///{path}")
    path.unlink()
    Store.open(f"sqlite:///{path}").close_now()


_CHILD = """
import sys
from gateway.errors import ConfigError
from gateway.store import Store
{before}
print("ready", flush=True)
sys.stdin.readline()
try:
    store = Store.open({url!r})
except ConfigError as error:
    print(error, flush=True)
else:
    print("open", flush=True)
    sys.stdin.readline()
    store.close_now()
"""
_WITHOUT_LOCK = """
import os
from gateway.store.engine import postgresql
from gateway.store.engine import sqlite
sqlite.take_lock = lambda path: os.open(os.devnull, os.O_RDONLY)
postgresql.PostgreSQL._take_lock = lambda self, conn: None
"""
_KILLED_DURING_MIGRATION = """
import os, signal
from alembic import op
create_table = op.create_table
def create_or_die(name, *columns, **more):
    if name == "tier_changes":
        os.kill(os.getpid(), signal.SIGKILL)
    return create_table(name, *columns, **more)
op.create_table = create_or_die
"""


def _start(stack: ExitStack, url: str, before: str = "") -> subprocess.Popen[str]:
    child = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-c", _CHILD.format(before=before, url=url)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    )
    assert _answer(child) == "ready"
    return child


def _go_on(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("go\n")
    child.stdin.flush()


def _answer(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def _start_three(url: str, before: str) -> list[str]:
    with ExitStack() as stack:
        children = [_start(stack, url, before) for _ in range(3)]
        for child in children:
            _go_on(child)
        answers = [_answer(child) for child in children]
        for child in children:
            child.communicate("stop\n" if child.poll() is None else None, timeout=20)
    return answers


def test_t6_of_three_simultaneous_starts_one_runs_and_two_are_refused(database_url: str) -> None:
    answers = sorted(_start_three(database_url, ""))
    assert answers[2] == "open"
    assert all("another instance" in answer for answer in answers[:2])
    reopened = Store.open(database_url)
    assert reopened.read_now(inbox.count_waiting) == 0
    reopened.close_now()


def test_t6_three_simultaneous_migrations_all_succeed(database_url: str) -> None:
    assert _start_three(database_url, _WITHOUT_LOCK) == ["open"] * 3


def test_t6_a_start_after_a_kill_during_the_migration_succeeds(database_url: str) -> None:
    with ExitStack() as stack:
        child = _start(stack, database_url, _KILLED_DURING_MIGRATION)
        _go_on(child)
        assert child.wait(timeout=20) == -9
    reopened = Store.open(database_url)
    assert reopened.write_now(lambda conn: inbox.add(conn, "", "evt_1", "t", None, False, None, b"{}", 1))
    reopened.close_now()


def test_a_database_of_another_program_is_refused_by_name_and_not_changed(tmp_path: Path) -> None:
    """Open WebUI also has an alembic_version. Its file must not get our tables, nor be switched to WAL."""
    file = tmp_path / "webui.db"
    with closing(sqlite3.connect(file)) as conn:
        conn.executescript(
            "CREATE TABLE alembic_version (version_num TEXT); INSERT INTO alembic_version VALUES ('a1b2c3');"
            "CREATE TABLE auth (id TEXT); CREATE TABLE chat (id TEXT); CREATE TABLE config (id TEXT);"
        )
    before = file.read_bytes()
    expected = (
        "DATABASE_URL: this database belongs to another program (Open WebUI); give SKPayments a database of its own"
    )
    assert _refused(f"sqlite:///{file}") == expected
    with pytest.raises(ConfigError, match="belongs to another program"):
        check_database(f"sqlite:///{file}")
    assert file.read_bytes() == before


def test_no_tables_are_created_beside_those_of_another_program(database_url: str) -> None:
    opened = Store.open(database_url)
    opened.write_now(_become_foreign)
    opened.close_now()
    assert "belongs to another program (LiteLLM)" in _refused(database_url)
    with pytest.raises(ConfigError, match=r"belongs to another program \(LiteLLM\)"):
        check_database(database_url)


def _become_foreign(conn: Connection) -> None:
    for name in inspect(conn).get_table_names():
        if name not in ("grants", "entitlements"):
            conn.exec_driver_sql(f'DROP TABLE "{name}"' + ("" if conn.dialect.name == "sqlite" else " CASCADE"))
    conn.exec_driver_sql('CREATE TABLE "LiteLLM_UserTable" (user_id TEXT)')


def test_the_check_refuses_what_opening_would_and_changes_nothing(database_url: str) -> None:
    check_database(database_url)
    opened = Store.open(database_url)
    check_database(database_url)  # another instance may run
    opened.write_now(lambda conn: conn.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'"))
    opened.close_now()
    with pytest.raises(ConfigError, match="newer version"):
        check_database(database_url)


def test_the_check_refuses_a_file_or_folder_that_cannot_be_a_database(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database, though longer than a header of SQLite's would be" * 20)
    with pytest.raises(ConfigError, match="not an SQLite database"):
        check_database(f"sqlite:///{tmp_path}/text")
    with pytest.raises(ConfigError, match="is not a writable folder"):
        check_database(f"sqlite:///{tmp_path}/text/under/store.db")
    with pytest.raises(ConfigError, match="is not a readable and writable file"):
        check_database(f"sqlite:///{tmp_path}")


@pytest.mark.parametrize("ask", [Store.open, check_database])
def test_an_unreachable_server_is_named_and_is_no_configuration_error(ask: Callable[[str], object]) -> None:
    for url, problem in (
        ("postgresql://u:hunter2@127.0.0.1:1/name", "127.0.0.1:1/name cannot be reached: Connection refused"),
        ("postgresql://u:hunter2@nohost.invalid/name", "nohost.invalid/name cannot be reached: failed to resolve host"),
    ):
        with pytest.raises(StoreUnavailable, match=re.escape(problem)) as caught:
            ask(url)
        assert "hunter2" not in caught.value.message + caught.value.detail
        assert "try again" not in caught.value.message


@pytest.mark.needs_postgresql
@pytest.mark.parametrize("ask", [Store.open, check_database])
def test_a_connection_refused_by_the_server_is_a_configuration_error_with_a_remedy(
    postgresql: Cluster, ask: Callable[[str], object]
) -> None:
    name = make_url(postgresql.new_database()).database
    postgresql.admin(sql.SQL("DROP ROLE IF EXISTS poor"))
    postgresql.admin(sql.SQL("CREATE ROLE poor LOGIN"))
    server = f"127.0.0.1:{postgresql.port}"
    for url, problem in (
        (f"postgresql://nobody:hunter2@{server}/{name}", "there is no such user"),
        (f"postgresql://postgres:hunter2@{server}/none", "there is no such database"),
        (f"postgresql://postgres:hunter2@{server}/{name}?sslmode=require", "the server has no TLS"),
        (f"postgresql://poor:hunter2@{server}/{name}", "may not create tables there"),
    ):
        with pytest.raises(ConfigError, match=problem) as caught:
            ask(url)
        assert caught.value.message.startswith("DATABASE_URL: ")
        assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ('FATAL:  password authentication failed for user "u"', "the user or the password is wrong"),
        ("fe_sendauth: no password supplied", "the server requires a password"),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.7", user "u"', "pg_hba.conf has no line for this user"),
        ("FATAL:  the database system is starting up", None),
        ("FATAL:  sorry, too many clients already", None),
        ("connection timeout expired", None),
    ],
)
def test_each_message_of_postgresql_is_classified(message: str, problem: str | None) -> None:
    cause = psycopg.OperationalError(f'connection failed: connection to server at "db", port 5432 failed: {message}')
    backend = PostgreSQL(store_url("postgresql://u:hunter2@db/name"))
    error = startup_error(backend, OperationalError("", None, cause))
    backend.close()
    assert error is not None
    assert isinstance(error, ConfigError) == (problem is not None)
    assert (problem or " ".join(message.split())) in error.message
