"""T35: loading and reloading 200 000 users does not block the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from servers.running import environ_of, running_application, write_apps
from sqlalchemy import text

from gateway.app.gate_table import GateTable
from gateway.catalog import parse
from gateway.cli import serve
from gateway.settings import read_settings
from gateway.store import Store

USERS = 200_000
# Of the whole work, so that no machine is too slow: 4 ms where all of it takes a third of a second. The second leaves
# room for a machine that others use, too.
STEP, LONGEST_STEP = 1 / 80, 1 / 20
_FILL = text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :users)"
    " INSERT INTO entitlements (app_id, user_id, tier, reason, source, changes_to_come, until_at, concerns, version,"
    " changed_at, updated_at)"
    " SELECT 'skai', 'user-' || i, 'pro', 'active', 'subscription', '[]',"
    " CASE WHEN i % 3 = 0 THEN 4000000000 END, '[]', 1, 1, 1 FROM n"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """apps.json and a database with everybody in it."""
    made = tmp_path_factory.mktemp("lag")
    write_apps(made)
    store = Store.open(f"sqlite:///{made / 'skpayments.db'}")
    store.write_now(lambda conn: conn.execute(_FILL, {"users": USERS}))
    store.close_now()
    return made


@contextlib.contextmanager
def frozen() -> Iterator[None]:
    """The collector as in `skpay serve`."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextlib.asynccontextmanager
async def steps() -> AsyncIterator[list[float]]:
    """How much processor time the loop's thread took between two of its turns: what others wait for, at least.

    Processor time, because another process may have the core for a while and that proves nothing.
    """
    found: list[float] = []

    async def tick() -> None:
        last = time.thread_time()
        while True:
            await asyncio.sleep(0.0005)
            now = time.thread_time()
            found.append(now - last)
            last = now

    with frozen():
        ticking = asyncio.create_task(tick())
        await asyncio.sleep(0.01)
        yield found
        ticking.cancel()


def assert_short(found: list[float]) -> None:
    assert len(found) > 100
    assert sorted(found)[len(found) * 97 // 100] < STEP * sum(found)
    assert max(found) < LONGEST_STEP * sum(found)


async def test_t35_a_load_does_not_block_the_event_loop(folder: Path) -> None:
    store = Store.open(f"sqlite:///{folder / 'skpayments.db'}")
    catalog = parse((folder / "apps.json").read_bytes())
    tiers = GateTable()
    try:
        for _ in range(2):  # the second time there are users to be forgotten, as in a reload
            async with steps() as found:
                await tiers.load(store, catalog)
            assert_short(found)
    finally:
        store.close_now()
    assert tiers.table.count("skai") == USERS
    assert tiers.table.changes_at("skai", "user-3") == 4_000_000_000
    assert tiers.table.changes_at("skai", "user-4") is None


async def test_t35_a_reload_does_not_block_the_event_loop(folder: Path) -> None:
    async with running_application(folder) as running:
        assert running.application.parts.tiers.table.count("skai") == USERS
        await asyncio.sleep(0.2)  # what a start still does
        async with steps() as found:
            await running.application.reload()
        assert_short(found)
        assert running.application.parts.tiers.table.count("skai") == USERS


def test_t35_what_lives_as_long_as_the_service_is_no_work_for_the_collector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen_objects: list[int] = []

    class Quick:
        """An application that is stopped as soon as it has started."""

        def __init__(self, *_: object) -> None:
            self.kept: list[list[object]] = []

        async def start(self) -> None:
            self.kept = [[] for _ in range(10_000)]
            asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), signal.SIGTERM)

        async def stop(self) -> None:
            frozen_objects.append(gc.get_freeze_count())

    monkeypatch.setattr(serve, "Application", Quick)
    environ = environ_of(tmp_path, stripe_url="http://127.0.0.1:9", litellm_url="http://127.0.0.1:9")
    try:
        asyncio.run(serve._serve(read_settings(environ)))
    finally:
        gc.unfreeze()
    assert frozen_objects[0] > 10_000
