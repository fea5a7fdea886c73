"""The file of a snapshot is whole and ours, or it is refused."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.app.snapshot_file import Header, SnapshotFile, SnapshotRefusedError, read_header, write_snapshot
from gateway.files import remove_abandoned

KEY = b"k" * 32
HEADER = Header("/data/skpayments.db", "e1", 7, 1_700_000_000, {"skai": ["free", "pro"]})
RECORDS = [["keys", [["00", "skai", "u1"]]], ["users", "skai", [["u1", "pro", None], ["ü", "free", 5]]]]


def write(path: Path, key: bytes, header: Header, records: list[list[object]]) -> None:
    asyncio.run(write_snapshot(path, key, header, records))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(tmp_path / "cache", KEY, HEADER, RECORDS)
    return tmp_path / "cache"


def refusal(path: Path, key: bytes = KEY) -> str:
    with pytest.raises(SnapshotRefusedError) as raised:
        SnapshotFile(path, [key])
    return str(raised.value)


def test_what_was_written_is_read(path: Path) -> None:
    file = SnapshotFile(path, [b"other" * 8, KEY])
    assert file.header == HEADER
    assert list(file.records()) == RECORDS
    file.close()
    assert read_header(path) == HEADER


def test_every_changed_byte_is_noticed(path: Path) -> None:
    good = path.read_bytes()
    for place in range(len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        assert refusal(path)
    path.write_bytes(good)
    SnapshotFile(path, [KEY]).close()


def test_every_shorter_and_longer_file_is_refused(path: Path) -> None:
    good = path.read_bytes()
    for size in range(len(good)):
        path.write_bytes(good[:size])
        assert refusal(path)
    path.write_bytes(good + b"\n")
    assert "damaged" in refusal(path)


def test_why_it_is_refused(path: Path, tmp_path: Path) -> None:
    assert "another GATE_SECRET" in refusal(path, b"x" * 32)
    path.write_bytes(b"")
    assert refusal(path) == "is empty"
    path.write_bytes(os.urandom(100_000))
    assert refusal(path) == "is no snapshot of this version of SKPayments"
    (tmp_path / "folder").mkdir()
    assert refusal(tmp_path / "folder") in ("is not a regular file", "cannot be read: Is a directory")
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe") == "is not a regular file"
    with pytest.raises(FileNotFoundError):
        SnapshotFile(tmp_path / "missing", [KEY])


def test_an_open_one_is_not_changed_by_the_next(path: Path) -> None:
    file = SnapshotFile(path, [KEY])
    write(path, KEY, HEADER, [])
    assert list(file.records()) == RECORDS
    file.close()
    newer = SnapshotFile(path, [KEY])
    assert list(newer.records()) == []
    newer.close()


def test_a_cancelled_writer_leaves_nothing_behind(path: Path) -> None:
    async def cancelled(steps: int) -> None:
        writing = asyncio.create_task(write_snapshot(path, KEY, HEADER, RECORDS * 1000))
        for _ in range(steps):
            await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing

    for steps in range(1, 12):
        asyncio.run(cancelled(steps))
        assert [each.name for each in path.parent.iterdir()] == ["cache"]
    file = SnapshotFile(path, [KEY])
    assert list(file.records()) == RECORDS
    file.close()


_WRITER = """
import asyncio, sys
from pathlib import Path
from gateway.app.snapshot_file import Header, write_snapshot

def records():
    for number in range(300):
        yield ["users", "skai", [[f"user-{number}-{row}", "pro", None] for row in range(100)]]

async def main():
    number = 0
    while True:
        number += 1
        header = Header("db", "e1", number, 1_700_000_000, {})
        await write_snapshot(Path(sys.argv[1]), b"k" * 32, header, records())
        print(number, flush=True)

asyncio.run(main())
"""


def test_a_writer_that_is_killed_leaves_the_last_one_whole(tmp_path: Path) -> None:
    path, seen = tmp_path / "cache", 0
    for round_ in range(8):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()  # the first one is whole; the next is being written
        time.sleep(round_ * 0.007)  # somewhere in it
        writer.send_signal(signal.SIGKILL)
        writer.stdout.close()
        writer.wait(30)
        file = SnapshotFile(path, [KEY])
        assert file.header.number >= 1
        assert sum(len(record[2]) for record in file.records()) == 30_000
        file.close()
        seen += len(list(tmp_path.iterdir())) - 1
        remove_abandoned(path)
        assert [each.name for each in tmp_path.iterdir()] == ["cache"]
    assert seen > 0  # some were killed in the middle
