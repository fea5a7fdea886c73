"""The file of a gate's snapshot: lines of JSON, sealed with a key derived from GATE_SECRET.

A keyed seal instead of a plain digest: write access to the file alone does not allow to give a user a tier.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from gateway.access.derived_keys import derived_keys
from gateway.files import AtomicFile
from gateway.settings import Secrets

_FIRST_LINE = b"skpayments gate snapshot 1\n"
_SEAL_BYTES = 32
_MODE = 0o600
_BLOCK_BYTES = 1 << 20
_MAX_HEADER_BYTES = 1 << 20


class SnapshotRefusedError(Exception):
    """Why a file is treated as no snapshot."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the rest was true for. `database`: `store.opening.database_name`. `number`: of the last change contained, of
    `epoch`. `read_at`: every change committed before this epoch second is contained. `tiers`: app id → the ids of its
    tiers, the default one first."""

    database: str
    epoch: str
    number: int
    read_at: int
    tiers: dict[str, list[str]]


def seal_keys(gate_secrets: Secrets) -> tuple[bytes, ...]:
    """One key for each GATE_SECRET, newest first: the first seals, all of them verify."""
    return derived_keys(gate_secrets, "gate snapshot 1")


async def write_snapshot(path: Path, key: bytes, header: Header, records: Iterable[object]) -> None:
    """Replace the file, mode 0600. The event loop runs between two records; all I/O is done in threads. Raises
    `ConfigError` and `OSError`; the old file is then unchanged."""
    seal = hmac.new(key, digestmod="sha256")
    files: list[AtomicFile] = []

    def write(block: bytes) -> None:
        seal.update(block)
        files[0].write(block)

    def commit() -> None:
        files[0].write(seal.digest())
        files[0].commit()

    try:
        await _finished(lambda: files.append(AtomicFile(path, _MODE)))
        block = bytearray(_FIRST_LINE + _line(asdict(header)))
        for record in records:
            block += _line(record)
            if len(block) >= _BLOCK_BYTES:
                await _finished(partial(write, bytes(block)))
                block.clear()
            await asyncio.sleep(0)
        await _finished(partial(write, bytes(block)))
        await _finished(commit)
    except BaseException:
        for file in files:
            file.discard()
        raise


async def _finished(work: Callable[[], None]) -> None:
    """Run `work` in a thread. If cancelled, wait for its end first: what it opens or writes must be discarded after."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


def read_header(path: Path) -> Header | None:
    """The header of a file that is not verified; None if it has none. For deciding whether to replace the file."""
    try:
        with path.open("rb") as file:
            if file.readline(len(_FIRST_LINE)) != _FIRST_LINE:
                return None
            return _header(file.readline(_MAX_HEADER_BYTES))
    except (OSError, ValueError, TypeError):
        return None


class SnapshotFile:
    """A file whose seal is valid. If the path is replaced, an open one still reads the old content."""

    def __init__(self, path: Path, keys: Sequence[bytes]) -> None:
        """Open and verify. Raises `SnapshotRefusedError`, and `FileNotFoundError`."""
        try:
            # Without O_NONBLOCK, opening a pipe would wait for a writer.
            self._file: IO[bytes] = os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb")
        except FileNotFoundError:
            raise
        except OSError as exc:
            raise SnapshotRefusedError(f"cannot be read: {exc.strerror}") from exc
        try:
            content = self._verify(keys)
            line = self._file.readline()
            self.header = _header(line)
            self._left = content - len(line)
        except OSError as exc:
            self.close()
            raise SnapshotRefusedError(f"cannot be read: {exc.strerror}") from exc
        except BaseException:
            self.close()
            raise

    def records(self) -> Iterator[Any]:
        """As given to `write_snapshot`, from where the last call ended."""
        while self._left > 0:
            line = self._file.readline()
            self._left -= len(line)
            yield json.loads(line)

    def close(self) -> None:
        self._file.close()

    def _verify(self, keys: Sequence[bytes]) -> int:
        """The bytes between the first line and the seal; the file is then at their beginning."""
        found = os.fstat(self._file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise SnapshotRefusedError("is not a regular file")
        first = self._file.readline(len(_FIRST_LINE))
        if first != _FIRST_LINE:
            kind = "is empty" if not first else "is no snapshot of this version of SKPayments"
            raise SnapshotRefusedError(kind)
        seals = [hmac.new(key, first, "sha256") for key in keys]
        left = content = found.st_size - len(first) - _SEAL_BYTES
        while left > 0 and (block := self._file.read(min(left, _BLOCK_BYTES))):
            left -= len(block)
            for seal in seals:
                seal.update(block)
        written = self._file.read(_SEAL_BYTES)
        if not any(hmac.compare_digest(seal.digest(), written) for seal in seals):
            raise SnapshotRefusedError("is damaged or incomplete, or was written with another GATE_SECRET")
        self._file.seek(len(_FIRST_LINE))
        return content


def _header(line: bytes) -> Header:
    return Header(**json.loads(line))


def _line(record: object) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"
