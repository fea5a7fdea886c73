"""Keeps a snapshot of a gate process on disk, with which one can start while the database is away."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from gateway.access.keys import KeyOwner
from gateway.access.table import Row
from gateway.app.gate_catalog import GateCatalog, Read
from gateway.app.gate_follower import GateFollower
from gateway.app.gate_parts import GateParts
from gateway.app.gate_table import known_tiers
from gateway.app.removed_tiers import check_removed_tiers
from gateway.app.snapshot_file import (
    Header,
    SnapshotFile,
    SnapshotRefusedError,
    read_header,
    seal_keys,
    write_snapshot,
)
from gateway.catalog.model import Catalog
from gateway.errors import ConfigError, StoreUnavailable
from gateway.files import remove_abandoned
from gateway.log import fields
from gateway.settings import GateSettings
from gateway.store import entitlements
from gateway.store.engine.backup import sqlite_file
from gateway.store.opening import database_name
from gateway.store.reader import Reads

log = logging.getLogger(__name__)

WRITE_SECONDS = 60.0
UNCHANGED_SECONDS = 900.0
"""How old a file may become to which nothing has changed: with a million users it has 60 MB."""
MAX_AGE_SECONDS = 86_400
"""Long enough for the outage of a night. No longer, because a key that was revoked after the snapshot is valid until
the database is back, and so is a tier that was lowered; far below the 72 h for which a payer's tier is kept anyway."""
CLOCK_SECONDS = 300
"""How far in the future a snapshot may be: clocks differ, and are corrected."""
GRANT_SECONDS = 60
"""So long after the end of a grant a gate lowers the tier itself: a main process that runs has done it by then."""
LOOK_SECONDS = 5.0
_ITEMS_A_RECORD = 1_000

GrantEnd = tuple[str, str, int, str]
"""(app_id, user_id, at, the tier from then on)"""


class GateSnapshots:
    """The file of GATE_CACHE, by default beside an SQLite database; none with PostgreSQL. Gate processes of one machine
    may share it: one of them writes it at a time."""

    def __init__(
        self,
        settings: GateSettings,
        parts: GateParts,
        catalog: GateCatalog,
        follower: GateFollower,
        store: Reads,
        clock: Callable[[], float],
    ) -> None:
        self._path = snapshot_path(settings)
        self._database = database_name(settings.database_url)
        self._apps_file = str(settings.apps_file)
        self._keys = seal_keys(settings.gate_secret)
        self._parts = parts
        self._catalog = catalog
        self._follower = follower
        self._store = store
        self._clock = clock
        self._table_version = -1
        self._is_refused = False
        self._started_from: float | None = None
        self._not_written = ""

    def problems(self) -> dict[str, str]:
        """What the operator should know although the gate answers, by name."""
        found = {"changes": self._follower.stale, "snapshot": self._not_written}
        if self._started_from is not None and self._follower.read_at <= self._started_from:
            age = int(self._clock() - self._started_from)
            reason = self._follower.problem or "the database is away"
            found["changes"] = f"serves the users of a snapshot that is {age} s old: {reason}"
        return {name: problem for name, problem in found.items() if problem}

    async def load(self, read: Read) -> bool:
        """Install apps, keys and tiers, and follow from there. False if there is no usable snapshot; why is logged."""
        try:
            file = await asyncio.to_thread(self._open)
        except FileNotFoundError:
            return False
        except SnapshotRefusedError as exc:
            self._refused(str(exc))
            return False
        try:
            self._check(file.header)
            users = await self._install(file, read)
        except (SnapshotRefusedError, OSError) as exc:
            self._refused(str(exc))
            return False
        finally:
            file.close()
        found = file.header
        age = int(self._clock() - found.read_at)
        details = fields(file=str(self._path), age_seconds=age, users=users, epoch=found.epoch, number=found.number)
        log.warning("gate_started_from_snapshot", extra=details)
        return True

    async def keep(self) -> None:
        """Write it now and every minute, without end."""
        if self._path is None:
            return
        while True:
            try:
                await self._write(self._path)
                self._not_written = ""
            except StoreUnavailable:
                self._not_written = ""  # `problems` has it as `changes`
            except (ConfigError, OSError) as exc:
                detail = exc.message if isinstance(exc, ConfigError) else f"{self._path}: {exc.strerror}"
                if self._not_written != detail:
                    log.error("gate_snapshot_not_written", extra=fields(detail=detail))
                self._not_written = detail
            await asyncio.sleep(WRITE_SECONDS)

    async def end_grants(self) -> None:
        """While changes are not read, end grants at their instants, without end: the store has no new tier. Payers keep
        theirs, as while Stripe does not answer."""
        grants: list[GrantEnd] | None = None
        while True:
            if not self._follower.stale:
                grants = None
            else:
                grants = await asyncio.to_thread(self._saved_grants) if grants is None else grants
                self._end(grants)
            await asyncio.sleep(LOOK_SECONDS)

    def _saved_grants(self) -> list[GrantEnd]:
        """Those of the snapshot, which had every change until a minute before the database was away."""
        try:
            file = self._open()
        except (SnapshotRefusedError, FileNotFoundError):
            return []
        found: list[GrantEnd] = []
        with contextlib.closing(file):
            for kind, *content in file.records():
                if kind != "grants" or file.header.database != self._database:
                    break
                found += [tuple(each) for each in content[0]]
        return found

    def _end(self, grants: Sequence[GrantEnd]) -> None:
        """`grants`: the earliest end first. Users with another tier since then are skipped."""
        now, tiers = self._clock(), self._parts.tiers
        for app_id, user_id, at, tier_id in grants:
            if at + GRANT_SECONDS > now:
                return
            if tiers.table.changes_at(app_id, user_id) == at:
                tiers.publish(app_id, user_id, tier_id, None)

    def _open(self) -> SnapshotFile:
        """Raises `SnapshotRefusedError`, and `FileNotFoundError`."""
        if self._path is None:
            raise FileNotFoundError
        return SnapshotFile(self._path, self._keys)

    def _refused(self, detail: str) -> None:
        self._is_refused = True
        log.error("gate_snapshot_refused", extra=fields(file=str(self._path), detail=detail))

    def _check(self, header: Header) -> None:
        age = self._clock() - header.read_at
        if header.database != self._database:
            raise SnapshotRefusedError(f"is of {header.database}, DATABASE_URL names {self._database}")
        if age > MAX_AGE_SECONDS:
            raise SnapshotRefusedError(f"is {age / 3600:.0f} h old, {MAX_AGE_SECONDS // 3600} h are allowed")
        if age < -CLOCK_SECONDS:
            raise SnapshotRefusedError(f"is {-age / 3600:.1f} h in the future; set this machine's clock")

    async def _install(self, file: SnapshotFile, read: Read) -> int:
        """Raises `SnapshotRefusedError` before anything was changed."""
        header, catalog = file.header, read[0]
        owners, grants = dict[bytes, KeyOwner](), list[GrantEnd]()
        defaults = {(app_id, tiers[0]) for app_id, tiers in header.tiers.items()}

        def chunks() -> Iterator[tuple[str, Sequence[Row]]]:
            for kind, *content in file.records():
                if kind == "users":
                    yield content[0], content[1]
                elif kind == "grants":
                    grants.extend(tuple(each) for each in content[0])
                else:
                    owners.update((bytes.fromhex(key), KeyOwner(app, user)) for key, app, user in content[0])

        def check(counts: Mapping[tuple[str, str], int]) -> None:
            in_use = {tier: count for tier, count in counts.items() if tier not in defaults}
            check_removed_tiers(in_use, catalog, self._apps_file)

        try:
            users = await self._parts.tiers.load_snapshot(catalog, chunks(), check)
        except ConfigError as exc:
            raise SnapshotRefusedError(f"has users whom apps.json does not: {'; '.join(exc.problems)}") from exc
        self._end(grants)
        await self._catalog.install_snapshot(read, owners)
        # With other tiers in apps.json, users may be missing who had one of them: no epoch, so everything is loaded.
        epoch = header.epoch if header.tiers == _tiers(catalog) else ""
        self._follower.begin_at(self._catalog, epoch, header.number, header.read_at)
        self._started_from = header.read_at
        return users

    async def _write(self, path: Path) -> None:
        """Unless it is up to date, or another process is writing it."""
        with _only_writer(path.parent) as alone:
            if not alone or not self._is_due(await asyncio.to_thread(read_header, path)):
                return
            await asyncio.to_thread(remove_abandoned, path)
            grants = await self._store.read(entitlements.ends_of_grants)
            version, follower = self._parts.tiers.table.version, self._follower
            # The position first: what changes while the rows are written is read again after it.
            header = Header(
                self._database, follower.epoch, follower.number, int(follower.read_at), _tiers(self._catalog.loaded)
            )
            await write_snapshot(path, self._keys[0], header, self._records(header, grants))
            self._table_version, self._is_refused = version, False

    def _is_due(self, found: Header | None) -> bool:
        follower, now = self._follower, self._clock()
        if not follower.epoch:  # nothing was read from the database yet
            return False
        if self._is_refused or found is None or (found.database, found.epoch) != (self._database, follower.epoch):
            return True
        age = now - found.read_at
        if age < -CLOCK_SECONDS:
            return True
        if found.read_at >= int(follower.read_at) or age < WRITE_SECONDS / 2:
            return False
        unchanged = found.number == follower.number and self._table_version == self._parts.tiers.table.version
        return not unchanged or age > UNCHANGED_SECONDS

    def _records(self, header: Header, grants: Sequence[GrantEnd]) -> Iterator[object]:
        for start in range(0, len(grants), _ITEMS_A_RECORD):
            yield "grants", grants[start : start + _ITEMS_A_RECORD]
        owners = iter(self._parts.apps.owners.items())  # replaced as a whole, never changed
        while some := list(islice(owners, _ITEMS_A_RECORD)):
            yield "keys", [(key.hex(), owner.app_id, owner.user_id) for key, owner in some]
        for app_id in header.tiers:
            for rows in self._parts.tiers.table.rows(app_id):
                yield "users", app_id, rows


def snapshot_path(settings: GateSettings) -> Path | None:
    """GATE_CACHE, or a file beside an SQLite database."""
    if settings.gate_cache is not None:
        return settings.gate_cache.absolute()
    path = sqlite_file(settings.database_url)
    return None if path is None else path.with_name(f"{path.name}.gate-cache")


def has_snapshot(settings: GateSettings) -> bool:
    """Whether there is a file from which a gate process may be able to start."""
    path = snapshot_path(settings)
    return path is not None and path.exists()


def _tiers(catalog: Catalog) -> dict[str, list[str]]:
    """App id → its tiers, the default one first, then former ids."""
    found: dict[str, Any] = {}
    for app in catalog.apps.values():
        ids = [tier.tier_id for tier in app.tiers]
        found[app.app_id] = ids + sorted(known_tiers(app) - set(ids))
    return found


@contextlib.contextmanager
def _only_writer(folder: Path) -> Iterator[bool]:
    """Whether no other process writes in this folder; the kernel ends the lock with the process. Raises `ConfigError`
    and `OSError`."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError([f"GATE_CACHE: the folder {folder} does not exist; create it or name another"]) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)
