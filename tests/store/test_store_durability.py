"""T10: an acknowledged write is on disk and not only in the page cache. Only system calls can prove it, not kills."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from servers.found import require
from servers.postgresql import Cluster
from sqlalchemy import text

from gateway.store import Store

_CHILD = """
import os
from gateway.store import Store, inbox
store = Store.open({url!r})
for number in range(3):
    os.write(1, b"begin")
    store.write_now(lambda conn: inbox.add(conn, "", f"evt_{{number}}", "t", None, False, None, b"{{}}", 1))
    os.write(1, b"acknowledged")
os.write(1, b"end")
store.close_now()
"""


def _steps(trace: str) -> list[str]:
    """What was printed, and when the WAL was written and synced, in order."""
    steps: list[str] = []
    for line in trace.splitlines():
        if printed := re.search(r'\bwrite\(1(?:<[^>]*>)?, "(\w+)"', line):
            steps.append(printed[1])
            if printed[1] == "end":
                break
        elif written := re.search(r"\b(pwrite64|fdatasync|fsync)\(\d+<[^>]*-wal>", line):
            steps.append("write the WAL" if written[1] == "pwrite64" else "sync the WAL")
    return steps


def test_t10_the_wal_is_synced_before_a_write_is_acknowledged(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    url = f"sqlite:///{tmp_path}/store.db"
    calls = "trace=pwrite64,fdatasync,fsync,write"
    traced = [str(require("strace")), "-f", "-y", "-e", calls, "-o", str(trace)]
    subprocess.run([*traced, sys.executable, "-c", _CHILD.format(url=url)], check=True, stdout=subprocess.DEVNULL)
    steps = " ".join(_steps(trace.read_text()))
    _opening, *writes = steps.removesuffix("end").split("begin")
    assert len(writes) == 3
    for write in writes:
        assert re.fullmatch(r" (write the WAL )+sync the WAL acknowledged ", write)


@pytest.mark.needs_postgresql
def test_t10_postgresql_commits_are_synced_even_if_the_database_says_otherwise(postgresql: Cluster) -> None:
    url = postgresql.new_database()
    first = Store.open(url)
    name = url.rsplit("/", 1)[1]
    first.write_now(lambda conn: conn.execute(text(f"ALTER DATABASE {name} SET synchronous_commit = off")))
    first.close_now()
    store = Store.open(url)
    assert store.write_now(lambda conn: conn.execute(text("SHOW synchronous_commit")).scalar_one()) == "on"
    store.close_now()
