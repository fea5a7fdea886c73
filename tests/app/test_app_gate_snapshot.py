"""A gate process starts from its snapshot while the database is away, and from nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import aiohttp
import pytest
from servers.database import create_database
from servers.found import require
from servers.gate_alone import GateAlone, ask_gate
from servers.postgresql import cluster
from servers.running import GATE_SECRET, Served, environ_of, running_application, write_apps
from servers.traefik import free_port, until

from gateway.access.keys import key_hash
from gateway.app import gate_figures, gate_follower, gate_snapshot, gate_watch
from gateway.app.gate_process import GateProcess
from gateway.app.gate_snapshot import MAX_AGE_SECONDS
from gateway.app.snapshot_file import SnapshotFile, seal_keys
from gateway.errors import StoreUnavailable
from gateway.settings import Secret, read_gate_settings
from gateway.store import Store, entitlements, forgetting, gate_changes, keys
from gateway.store.engine.backup import back_up, restore
from gateway.tiers.model import Entitlement, Reason

NOW = 1_700_000_000
PAID = "/api/v1/images"
PAYER = {"Authorization": "Bearer skp_of-the-payer"}
OTHER = {"Authorization": "Bearer skp_of-another"}


class Database:
    """`move_away` and `bring_back` the database at `url`, as an outage does."""

    def __init__(self, url: str, move_away: Callable[[], object], bring_back: Callable[[], object]) -> None:
        self.url, self.move_away, self.bring_back = url, move_away, bring_back

    @contextlib.contextmanager
    def store(self) -> Iterator[Store]:
        opened = Store.open(self.url)
        try:
            yield opened
        finally:
            opened.close_now()

    def set_tier(self, user_id: str, tier: str) -> None:
        found = Entitlement(tier=tier, reason=Reason.ACTIVE, source="subscription" if tier != "free" else "default")
        with self.store() as store:
            store.write_now(lambda conn: entitlements.save(conn, "skai", user_id, found, NOW))

    def add_key(self, key: dict[str, str], user_id: str) -> int:
        digest = key_hash(key["Authorization"].removeprefix("Bearer "))
        with self.store() as store:
            return store.write_now(lambda conn: keys.add(conn, "user", digest, "skai", user_id, "test", NOW)).key_id


@contextlib.contextmanager
def sqlite(folder: Path) -> Iterator[Database]:
    path, away = folder / "skpayments.db", folder / "away"
    create_database(path)
    away.mkdir()

    def move(source: Path, target: Path) -> None:
        for each in list(source.glob("skpayments.db*")):
            if each.name in ("skpayments.db", "skpayments.db-wal", "skpayments.db-shm"):
                each.replace(target / each.name)

    yield Database(f"sqlite:///{path}", lambda: move(folder, away), lambda: move(away, folder))


@contextlib.contextmanager
def postgresql(folder: Path) -> Iterator[Database]:
    with cluster(require("postgresql")) as server:
        yield Database(server.new_database(), server.stop, server.start)


KINDS = [sqlite, pytest.param(postgresql, marks=pytest.mark.needs_postgresql)]


def environ(folder: Path, database: Database, **more: str) -> dict[str, str]:
    nowhere = "http://127.0.0.1:9"
    write_apps(folder)
    cache = str(folder / "cache" / "gate-cache")
    (folder / "cache").mkdir(exist_ok=True)
    return (
        environ_of(folder, stripe_url=nowhere, litellm_url=nowhere, DATABASE_URL=database.url, GATE_CACHE=cache) | more
    )


def filled(database: Database) -> int:
    """One payer with a key; the key's id."""
    database.set_tier("u1", "pro")
    return database.add_key(PAYER, "u1")


@contextlib.asynccontextmanager
async def gate_of(folder: Path, environment: dict[str, str]) -> AsyncIterator[GateAlone]:
    gate = GateAlone(folder, environment)
    try:
        yield gate
    finally:
        await gate.stop()


async def written(gate: GateAlone, cache: Path) -> None:
    """Start it until it has written its snapshot, then kill it."""
    await gate.start()
    await until(lambda: _exists(cache), "the snapshot is written")
    await gate.end()


def _bytes(path: Path) -> bytes:
    """Its content; nothing while it does not exist."""
    return path.read_bytes() if path.exists() else b""


async def _exists(path: Path) -> bool:
    return _bytes(path) != b""


async def logged(gate: GateAlone, event: str) -> dict[str, Any]:
    """The newest line of this event."""

    async def find() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in gate.log.splitlines() if f'"{event}"' in line]
        return [line for line in lines if line["event"] == event]

    return (await until(find, f"{event}; log: {gate.log[-1500:]}"))[-1]


async def started_from_snapshot(gate: GateAlone, database: Database, environment: dict[str, str]) -> None:
    """The database is away; the payer is known from the file that an earlier start wrote."""
    await written(gate, Path(environment["GATE_CACHE"]))
    database.move_away()
    await gate.start()
    await gate.until((200, "pro"), PAID, **PAYER)


@pytest.mark.parametrize("kind", KINDS)
async def test_it_starts_while_the_database_is_away_and_follows_on_once_it_is_back(
    kind: Callable[[Path], contextlib.AbstractContextManager[Database]], tmp_path: Path
) -> None:
    with kind(tmp_path) as database:
        key_id = filled(database)
        environment = environ(tmp_path, database)
        async with gate_of(tmp_path, environment) as gate:
            await started_from_snapshot(gate, database, environment)
            assert await gate.ask("/", **OTHER) == (401, None)
            assert await gate.ask("/") == (200, "free")
            assert (await logged(gate, "gate_started_from_snapshot"))["users"] == 1
            status, body = await gate.ready()
            assert (status, body["ready"]) == (200, True)
            assert "serves the users of a snapshot" in body["problems"]["changes"]
            assert await gate.ready(None) == (200, {"ready": True, "problems": None})

            database.bring_back()
            with database.store() as store:
                store.write_now(lambda conn: keys.revoke(conn, key_id, NOW))
            database.set_tier("u2", "pro")
            database.add_key(OTHER, "u2")
            await gate.until((200, "pro"), PAID, **OTHER)
            await gate.until((401, None), PAID, **PAYER)
            await logged(gate, "gate_changes_read_again")
            assert "gate_reloaded" not in gate.log
            assert (await gate.ready())[1]["problems"] == {}


async def test_another_database_at_the_same_address_replaces_everything(tmp_path: Path) -> None:
    """Such as a restored backup: its numbers mean something else."""
    with sqlite(tmp_path) as database:
        database.set_tier("u2", "pro")
        database.add_key(OTHER, "u2")
        backup = tmp_path / "backup.db"
        back_up(tmp_path / "skpayments.db", backup)
        filled(database)
        with database.store() as store:
            store.write_now(lambda conn: forgetting.remove_user(conn, "skai", "u2"))
        environment = environ(tmp_path, database)
        async with gate_of(tmp_path, environment) as gate:
            await started_from_snapshot(gate, database, environment)
            restore(database.url, backup, gate_changes.new_epoch, NOW)
            await gate.until((200, "pro"), PAID, **OTHER)
            await gate.until((401, None), PAID, **PAYER)
            assert "gate_reloaded" in gate.log


async def test_a_snapshot_of_another_database_is_refused(tmp_path: Path) -> None:
    with sqlite(tmp_path) as database:
        filled(database)
        environment = environ(tmp_path, database)
        async with gate_of(tmp_path, environment) as gate:
            await written(gate, Path(environment["GATE_CACHE"]))
            await gate.start(DATABASE_URL="postgresql://somebody:secret@127.0.0.1:9/other")
            await gate.until((503, None), PAID, **PAYER)
            detail = (await logged(gate, "gate_snapshot_refused"))["detail"]
            assert detail.startswith("is of ")
            assert detail.endswith("DATABASE_URL names postgresql://127.0.0.1:9/other")
            assert (await gate.ready(None))[0] == 503


def damage(cache: Path) -> None:
    cache.write_bytes(cache.read_bytes().replace(b'"pro"', b'"ent"'))


async def test_a_damaged_snapshot_is_refused_and_replaced_once_the_database_is_back(tmp_path: Path) -> None:
    with sqlite(tmp_path) as database:
        filled(database)
        environment = environ(tmp_path, database)
        cache = Path(environment["GATE_CACHE"])
        async with gate_of(tmp_path, environment) as gate:
            await written(gate, cache)
            damage(cache)
            database.move_away()
            await gate.start()
            await gate.until((503, None), PAID, **PAYER)
            assert "is damaged" in (await logged(gate, "gate_snapshot_refused"))["detail"]
            database.bring_back()
            await gate.until((200, "pro"), PAID, **PAYER)

            async def replaced() -> bool:
                return b'"ent"' not in _bytes(cache)

            await until(replaced, "the snapshot is written")


@contextlib.asynccontextmanager
async def process(environment: dict[str, str], clock: Callable[[], float] = time.time) -> AsyncIterator[GateProcess]:
    """A gate process inside this one, started, with a clock of its own."""
    gate = GateProcess(read_gate_settings(environment), environment, clock=clock)
    await asyncio.wait_for(gate.start(), 60)
    try:
        yield gate
    finally:
        await gate.stop()


@contextlib.asynccontextmanager
async def waiting(environment: dict[str, str], clock: Callable[[], float] = time.time) -> AsyncIterator[GateProcess]:
    """The same, where it does not get beyond waiting for the database."""
    gate = GateProcess(read_gate_settings(environment), environment, clock=clock)
    starting = asyncio.create_task(gate.start())
    try:
        yield gate
    finally:
        assert not starting.done()
        assert not gate.parts.gate.ready
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)


async def write(environment: dict[str, str], clock: Callable[[], float] = time.time) -> None:
    cache = Path(environment["GATE_CACHE"])
    async with process(environment, clock):
        await until(lambda: _exists(cache), "the snapshot is written")


async def refused(environment: dict[str, str], caplog: pytest.LogCaptureFixture, **more: Any) -> str:
    """Why its snapshot is refused."""
    caplog.clear()
    async with waiting(environment, **more):

        async def line() -> str:
            found = [each.fields["detail"] for each in caplog.records if each.msg == "gate_snapshot_refused"]  # type: ignore[attr-defined]
            return found[0] if found else ""

        return await until(line, "it is refused")


def _clock(seconds: float) -> Callable[[], float]:
    """One that is so much fast."""
    return lambda: time.time() + seconds


async def test_no_clock_of_another_machine_hinders_it(tmp_path: Path) -> None:
    with sqlite(tmp_path) as database:
        filled(database)
        environment = environ(tmp_path, database)
        for written_by, read_by in ((30, 0), (0, 30)):
            environment["GATE_CACHE"] += "-next"
            await write(environment, _clock(written_by))
            database.move_away()
            async with process(environment, _clock(read_by)) as gate:
                assert gate.parts.tiers.table.tier_of("skai", "u1", "") == "pro"
            database.bring_back()


async def test_one_of_another_day_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with sqlite(tmp_path) as database:
        filled(database)
        environment = environ(tmp_path, database)
        await write(environment, _clock(-MAX_AGE_SECONDS - 60))
        database.move_away()
        assert await refused(environment, caplog) == "is 24 h old, 24 h are allowed"
        hours = 3 * 3600
        in_past = await refused(environment, caplog, clock=_clock(-MAX_AGE_SECONDS - hours))
        assert "in the future; set this machine's clock" in in_past


def dated(database: Database) -> None:
    """u1 pays until in 100 s, u2 has a grant until then and u3 one that ends later."""
    soon = int(time.time()) + 100
    ends: dict[str, tuple[Literal["subscription", "grant"], int, str]] = {
        "u1": ("subscription", soon, "free"), "u2": ("grant", soon, "free"), "u3": ("grant", soon + 9_000, "free"),
        "u4": ("grant", soon, "pro"),
    }  # fmt: skip
    with database.store() as store:
        for user_id, (source, at, then) in ends.items():
            tier = "enterprise" if then == "pro" else "pro"
            found = Entitlement(tier=tier, reason=Reason.GRANT, source=source, upcoming_changes=((at, then),))
            store.write_now(partial(entitlements.save, app_id="skai", user_id=user_id, entitlement=found, now=NOW))


def tiers(gate: GateProcess) -> list[str]:
    return [gate.parts.tiers.table.tier_of("skai", user_id, "") for user_id in ("u1", "u2", "u3", "u4")]


async def test_a_grant_ends_at_its_date_and_a_payer_keeps_the_tier(tmp_path: Path) -> None:
    with sqlite(tmp_path) as database:
        dated(database)
        environment = environ(tmp_path, database)
        await write(environment)
        database.move_away()
        async with process(environment, _clock(110)) as gate:  # the main process could still lower it
            assert tiers(gate) == ["pro", "pro", "pro", "enterprise"]
        async with process(environment, _clock(200)) as gate:
            assert tiers(gate) == ["pro", "free", "pro", "pro"]


async def test_a_grant_ends_at_a_gate_that_runs_on_without_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_snapshot, "LOOK_SECONDS", 0.1)
    fast = [0.0]
    with sqlite(tmp_path) as database:
        dated(database)
        environment = environ(tmp_path, database)
        async with process(environment, lambda: time.time() + fast[0]) as gate:
            await until(lambda: _exists(Path(environment["GATE_CACHE"])), "the snapshot is written")
            database.move_away()
            fast[0] = 200

            async def ended() -> bool:
                return tiers(gate) == ["pro", "free", "pro", "pro"]

            await until(ended, "the grants end")


async def test_one_sealed_with_another_secret_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with sqlite(tmp_path) as database:
        filled(database)
        environment = environ(tmp_path, database)
        await write(environment)
        database.move_away()
        new, old = "another-gate-secret-3b1f6f0de1a24c0f9b", environment["GATE_SECRET"]
        assert "another GATE_SECRET" in await refused(environment | {"GATE_SECRET": new}, caplog)
        async with process(environment | {"GATE_SECRET": f"{new},{old}"}) as gate:
            assert gate.parts.tiers.table.tier_of("skai", "u1", "") == "pro"


async def test_a_tier_that_users_have_must_be_in_apps_json(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with sqlite(tmp_path) as database:
        filled(database)
        environment = environ(tmp_path, database)
        await write(environment)
        database.move_away()

        def without_pro(apps: dict[str, Any]) -> None:
            apps["apps"][0]["tiers"] = [each for each in apps["apps"][0]["tiers"] if each["id"] != "pro"]
            apps["apps"][0]["routes"] = []

        write_apps(tmp_path, without_pro)
        assert "the tier 'pro' was removed, but 1 users have it" in await refused(environment, caplog)


async def test_users_of_a_tier_that_apps_json_got_since_are_loaded_once_the_database_is_back(tmp_path: Path) -> None:
    """The snapshot cannot have them: no gate knew their tier."""
    with sqlite(tmp_path) as database:
        filled(database)
        database.set_tier("u2", "gold")
        environment = environ(tmp_path, database)

        def without_gold(apps: dict[str, Any]) -> None:
            apps["apps"][0]["tiers"].append({"id": "gold", "name": "Gold", "internal": True, "limits": {}})

        with database.store() as store:  # the gate would refuse an apps.json without it
            store.write_now(
                lambda conn: conn.exec_driver_sql("UPDATE entitlements SET source='default' WHERE tier='gold'")
            )
        await write(environment)
        database.move_away()
        write_apps(tmp_path, without_gold)
        async with process(environment) as gate:
            table = gate.parts.tiers.table
            assert (table.tier_of("skai", "u1", ""), table.tier_of("skai", "u2", "")) == ("pro", "")
            database.bring_back()

            async def loaded() -> bool:
                return table.tier_of("skai", "u2", "") == "gold"

            await until(loaded, "everything is loaded")


async def test_nobody_else_can_read_it_and_it_holds_no_key(tmp_path: Path) -> None:
    with sqlite(tmp_path) as database:
        filled(database)
        environment = environ(tmp_path, database)
        cache = Path(environment["GATE_CACHE"])
        touch(cache)
        async with process(environment):
            await until(lambda: _exists(cache), "the snapshot is written")
        assert mode(cache) == 0o600
        assert b"u1" in _bytes(cache)
        assert b"skp_" not in _bytes(cache)
        assert names(cache.parent) == ["gate-cache"]


def touch(path: Path) -> None:
    """An empty file that everybody can read."""
    path.touch(0o644)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def names(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir()]


async def test_two_processes_share_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_snapshot, "WRITE_SECONDS", 0.01)
    monkeypatch.setattr(gate_snapshot, "UNCHANGED_SECONDS", 0.01)
    with sqlite(tmp_path) as database:
        filled(database)
        environment = environ(tmp_path, database)
        cache, secret = Path(environment["GATE_CACHE"]), (Secret(environment["GATE_SECRET"]),)
        async with process(environment, _clock(1)), process(environment):
            await until(lambda: _exists(cache), "the snapshot is written")
            for number in range(4):  # a second each: a snapshot is of a whole second
                database.set_tier(f"new-{number}", "pro")

                async def has_it(user: bytes = f'"new-{number}"'.encode()) -> bool:
                    SnapshotFile(cache, seal_keys(secret)).close()  # whole at every moment
                    return user in _bytes(cache)

                await until(has_it, "the change is in the snapshot")
        assert names(cache.parent) == ["gate-cache"]


async def test_a_folder_that_does_not_exist_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with sqlite(tmp_path) as database:
        filled(database)
        environment = environ(tmp_path, database, GATE_CACHE=str(tmp_path / "missing" / "gate-cache"))
        async with process(environment) as gate:

            async def reported() -> dict[str, str]:
                return dict(gate.parts.gate.problems())

            assert "does not exist; create it" in (await until(reported, "it is in /ready"))["snapshot"]
        assert [each.msg for each in caplog.records].count("gate_snapshot_not_written") == 1


async def test_by_default_it_lies_beside_an_sqlite_database(tmp_path: Path) -> None:
    with sqlite(tmp_path) as database:
        filled(database)
        environment = environ(tmp_path, database)
        del environment["GATE_CACHE"]
        async with process(environment):
            await until(lambda: _exists(tmp_path / "skpayments.db.gate-cache"), "the snapshot is written")


@pytest.mark.needs_postgresql
async def test_serve_starts_its_gate_processes_while_the_database_is_away(tmp_path: Path) -> None:
    with postgresql(tmp_path) as database:
        filled(database)
        ports = {"PORT": str(free_port()), "GATE_PORT": str(free_port())}
        environment = environ(tmp_path, database, GATE_PROCESSES="2", **ports)
        served, cache = Served(tmp_path, environment), Path(environment["GATE_CACHE"])
        async with aiohttp.ClientSession() as session:

            async def paid() -> bool:
                assert served.process.returncode is None, served.log
                return await ask_gate(session, served.gate_port, PAID, **PAYER) == (200, "pro")

            try:
                await served.start()
                await until(lambda: _exists(cache), "the snapshot is written")
                served.process.terminate()
                await served.ended()

                database.move_away()
                await served.start()
                await until(paid, "the gate answers", 60)
                assert '"store_awaited"' in served.log
                served.process.terminate()
                assert await served.ended() == 0

                await served.start()
                await until(paid, "the gate answers", 60)
                database.bring_back()
                await served.until_up()
                await until(paid, "the gate answers")
                served.process.terminate()
                assert await served.ended() == 0

                database.move_away()
                remove(cache)
                await served.start()
                assert await served.ended() == 3
                database.bring_back()
            finally:
                await served.stop()


def remove(path: Path) -> None:
    path.unlink()


async def test_what_is_wrong_with_a_gate_process_is_an_alert_of_the_main_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_watch, "LOOK_SECONDS", 0.1)
    async with running_application(tmp_path, PORT=str(free_port())) as running:
        (tmp_path / "cache").write_text("not a folder")
        gate = GateAlone(tmp_path, running.environ | {"GATE_CACHE": str(tmp_path / "cache" / "file")})
        await gate.start()

        async def alerts() -> list[str]:
            _, found = await running.admin("GET", "/admin/alerts")
            return [row["subject"] for row in found["alerts"] if row["kind"] == "gate_degraded"]

        async def none() -> bool:
            return not await alerts()

        try:
            (subject,) = await until(alerts, "the alert is open", 30)
            assert subject.startswith("gate at ")
        finally:
            await gate.stop()
        monkeypatch.setattr(gate_figures, "SILENT_SECONDS", 0.5)
        await until(none, "the alert is resolved")


async def test_the_main_process_says_that_its_own_gate_reads_no_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_watch, "LOOK_SECONDS", 0.1)
    async with running_application(tmp_path) as running:
        follower = running.application.parts.follower
        monkeypatch.setattr(follower, "catch_up", _no_database)

        async def unread() -> str:
            return follower.problem

        await until(unread, "the log is not read")
        monkeypatch.setattr(gate_follower, "STALE_SECONDS", 0)

        async def alerted() -> bool:
            _, found = await running.admin("GET", "/admin/alerts")
            return ("gate_degraded", "main process") in [(row["kind"], row["subject"]) for row in found["alerts"]]

        await until(alerted, "the alert is open")
        status, ready = await running.admin("GET", "/ready")
        assert (status, "a test" in ready["problems"]["changes"]) == (503, True)
        async with running.session.get(f"{running.gate_url}/ready", headers={"X-SK-Gate": GATE_SECRET}) as answer:
            found = await answer.json()
            assert (answer.status, "a test" in found["problems"]["changes"]) == (200, True)


async def _no_database() -> None:
    raise StoreUnavailable("away", detail="a test")
