"""`skpay account`."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from cli_result import Skpay
from servers.running import Running

from gateway.billing.accounts.account import ACCOUNT, MODE
from gateway.store import Store, customers, entitlements, instance
from gateway.tiers.model import Entitlement, Reason

PAID = Entitlement("pro", Reason.ACTIVE, "subscription", "active", "cus_1", "sub_1", "price_pro")


def seed(url: str) -> None:
    """A database that was bound to a test account and has one payer."""
    store = Store.open(url)
    now = int(time.time())
    store.write_now(lambda conn: customers.add(conn, "skai", "u1", "cus_1", None, now))
    store.write_now(lambda conn: entitlements.save(conn, "skai", "u1", PAID, now))
    store.write_now(lambda conn: instance.put(conn, ACCOUNT, "acct_test"))
    store.write_now(lambda conn: instance.put(conn, MODE, "test"))
    store.close_now()


def left(url: str) -> tuple[object, str | None]:
    store = Store.open(url)
    try:
        return store.read_now(customers.newest), store.read_now(lambda conn: instance.get(conn, MODE))
    finally:
        store.close_now()


async def test_it_shows_what_the_running_server_is_bound_to(skpay: Skpay, running: Running) -> None:
    result = await skpay("account", "show", env=running.environ)
    assert result.code == 0
    assert "database: acct_sandbox, test" in result.out
    assert "newest customer: none" in result.out
    assert "key: test" in result.out


async def test_it_shows_what_a_database_is_bound_to_while_no_server_runs(skpay: Skpay, alone: dict[str, str]) -> None:
    seed(alone["DATABASE_URL"])
    result = await skpay("account", "show", env=alone)
    assert (result.code, "acct_test, test" in result.out, "newest customer: cus_1" in result.out) == (0, True, True)


async def test_a_move_is_dry_unless_it_is_confirmed(skpay: Skpay, alone: dict[str, str]) -> None:
    seed(alone["DATABASE_URL"])
    result = await skpay("account", "move", env=alone)
    assert result.code == 0
    assert "would forget: 1 customers" in result.out
    assert "1 user(s) would lose" in result.out
    assert "nothing was changed" in result.out
    newest, mode = left(alone["DATABASE_URL"])
    assert newest is not None
    assert mode == "test"

    result = await skpay("account", "move", "--yes", env=alone)
    assert result.code == 0
    assert "forgotten: 1 customers" in result.out
    assert left(alone["DATABASE_URL"]) == (None, None)


async def test_a_move_is_refused_while_a_server_runs(skpay: Skpay, running: Running, tmp_path: Path) -> None:
    result = await skpay("account", "move", "--yes", env=running.environ)
    assert result.code == 2
    assert f"(process {os.getpid()}) already runs on" in result.err
    assert "stop it first" in result.err
    assert "HOST, PORT" not in result.err


async def test_a_start_with_the_key_of_another_account_ends_with_2_and_names_the_way(running: Running) -> None:
    store = running.application.parts.store
    await store.write(lambda conn: customers.add(conn, "skai", "u1", "cus_of_another_account", None, 1))
    await running.application.stop()
    # In a process of its own: only a main thread may listen for signals.
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "serve", env={**os.environ, **running.environ},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2
    assert b"cus_of_another_account" in err
    assert b"skpay account move" in err
