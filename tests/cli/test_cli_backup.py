"""`skpay database backup` and `skpay database restore`."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from cli_result import Skpay
from servers.found import require
from servers.postgresql import cluster
from servers.running import Running

from gateway.store import Store, customers, instance, provisioning, refreshes


def users_in(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as conn:
        return {row[0] for row in conn.execute("SELECT user_id FROM customers")}


def found(folder: Path, pattern: str) -> list[Path]:
    return list(folder.glob(pattern))


def add(url: str, user_id: str) -> None:
    store = Store.open(url)
    store.write_now(lambda conn: customers.add(conn, "skai", user_id, f"cus_{user_id}", None, 1))
    store.write_now(lambda conn: provisioning.put(conn, "skai", user_id, 1))
    store.close_now()


async def test_a_backup_while_the_server_runs(skpay: Skpay, running: Running, tmp_path: Path) -> None:
    await running.application.parts.store.write(lambda conn: customers.add(conn, "skai", "u1", "cus_1", None, 1))
    target = tmp_path / "kept.backup"
    result = await skpay("database", "backup", str(target), env=running.environ)
    assert result.code == 0, result
    assert f"{target}: " in result.out
    assert users_in(target) == {"u1"}


async def test_a_backup_without_a_name_lies_beside_the_database(skpay: Skpay, running: Running, tmp_path: Path) -> None:
    assert (await skpay("database", "backup", env=running.environ)).code == 0
    assert len(found(tmp_path, "skpayments-*Z.backup")) == 1


async def test_a_restore_while_the_server_runs_is_refused(skpay: Skpay, running: Running, tmp_path: Path) -> None:
    target = tmp_path / "kept.backup"
    await skpay("database", "backup", str(target), env=running.environ)
    result = await skpay("database", "restore", str(target), env=running.environ)
    assert result.code == 2
    assert "another instance" in result.err


async def test_a_restore_drops_the_backups_provisioning_jobs(
    skpay: Skpay, alone: dict[str, str], tmp_path: Path
) -> None:
    url, target = alone["DATABASE_URL"], tmp_path / "kept.backup"
    add(url, "u1")
    assert (await skpay("database", "backup", str(target), env=alone)).code == 0
    add(url, "u2")
    result = await skpay("database", "restore", str(target), env=alone)
    assert result.code == 0, result
    assert "1 user(s) will be looked up" in result.out
    [kept] = found(tmp_path, "*.before-restore-*")
    assert str(kept) in result.out
    assert users_in(kept) == {"u1", "u2"}
    store = Store.open(url)
    assert store.read_now(provisioning.counts)["waiting"] == 0
    assert set(store.read_now(refreshes.waiting)) == {("skai", "u1")}
    assert store.read_now(lambda conn: instance.get(conn, "recovery")) == "restored"
    store.close_now()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            (
                "database",
                "restore",
            ),
            "Name the backup",
        ),
        (("database", "restore", "nowhere.backup"), "no such file"),
        (("database", "backup", "nowhere/a.backup"), "no such folder"),
    ],
)
async def test_unusable_input_is_reported(
    skpay: Skpay, alone: dict[str, str], words: tuple[str, ...], text: str
) -> None:
    add(alone["DATABASE_URL"], "u1")
    result = await skpay(*words, env=alone)
    assert result.code == 2
    assert text in result.err


async def test_a_backup_of_no_database_is_refused(skpay: Skpay, alone: dict[str, str]) -> None:
    result = await skpay("database", "backup", env=alone)
    assert result.code == 2
    assert "no database" in result.err


@pytest.mark.needs_postgresql
async def test_postgresql_is_backed_up_by_its_own_tools_and_marked_by_ours(
    skpay: Skpay, alone: dict[str, str], tmp_path: Path
) -> None:
    with cluster(require("postgresql")) as server:
        env = {**alone, "DATABASE_URL": server.new_database()}
        add(env["DATABASE_URL"], "u1")
        result = await skpay("database", "backup", env=env)
        assert (result.code, "pg_dump" in result.err) == (2, True)
        result = await skpay("database", "restore", str(tmp_path / "a.backup"), env=env)
        assert (result.code, "pg_restore" in result.err) == (2, True)
        result = await skpay("database", "restore", env=env)
        assert (result.code, "1 user(s) will be looked up" in result.out) == (0, True)
        store = Store.open(env["DATABASE_URL"])
        assert store.read_now(lambda conn: instance.get(conn, "recovery")) == "restored"
        assert store.read_now(provisioning.counts)["waiting"] == 0
        store.close_now()
