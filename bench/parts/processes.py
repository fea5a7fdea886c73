"""Servers of a benchmark, each on its own core if there are two."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_START_SECONDS = 30


def pinned(core: int, command: Sequence[str]) -> list[str]:
    cores = os.cpu_count() or 1
    return ["taskset", "-c", str(core), *command] if cores > 1 and shutil.which("taskset") else list(command)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Server:
    """A running program that listens on `port` of 127.0.0.1."""

    pid: int
    port: int

    def _pids(self) -> list[int]:
        """Its own pid and those of its running children, such as nginx's worker."""
        pids = [self.pid]
        for pid in pids:
            pids += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return pids

    def children(self) -> list[int]:
        return self._pids()[1:]

    def move_to(self, core: int) -> None:
        """Its threads, not its children."""
        if (os.cpu_count() or 1) > 1:
            for thread in Path(f"/proc/{self.pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), {core})

    def cpu_seconds(self) -> float:
        """Processor time so far."""
        total = 0
        for pid in self._pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / _TICKS

    def resident_bytes(self) -> int:
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self._pids()) * _PAGE_BYTES


@contextmanager
def running(
    core: int, command: Sequence[str], port: int, env: Mapping[str, str] | None = None, folder: Path | None = None
) -> Iterator[Server]:
    """Start it on a core (in `folder`), wait until it listens on `port`, stop it by its own id."""
    process = subprocess.Popen(
        pinned(core, command), env={**os.environ, **(env or {})}, cwd=folder, stdout=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, f"{command[:4]} ended"
                assert time.monotonic() < deadline, f"{command[:4]} does not listen"
                time.sleep(0.02)
        yield Server(process.pid, port)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(15)
