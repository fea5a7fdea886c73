"""The gate processes of one container: started beside the main process, watched, replaced, stopped with it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.app.ports import port_in_use
from gateway.errors import ConfigError
from gateway.gate import claim_shared_address, shared_socket
from gateway.log import fields
from gateway.settings import Settings

log = logging.getLogger(__name__)

_NOT_FOR_GATES = {
    "STRIPE_SECRET_KEY", "STRIPE_SECRET_KEY_FILE", "STRIPE_WEBHOOK_SECRET", "STRIPE_WEBHOOK_SECRET_FILE",
    "GATE_PROCESSES",
}  # fmt: skip
START_SECONDS = 300.0
"""Until the first beat, which comes when the tiers of all users are loaded and the port is open."""
CONFIG_ERROR = 2
"""The exit code of a command for a wrong setting."""
SILENT_SECONDS = 2.0
"""A frozen process still gets its share of the connections: one call in N would hang (T47)."""
_PARTS = 4
"""Silence is measured in parts. If this process is frozen, only one of them passes: it must not kill healthy gates."""
RESTART_SECONDS = 0.5
STOP_SECONDS = 5.0
_CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def default_count() -> int:
    """One process for each core but one, at least one. Respects the CPU limit of the container."""
    cores = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):
        quota, period = _CPU_LIMIT.read_text(encoding="ascii").split()
        cores = min(cores, int(quota) // int(period))  # "max": no limit
    return max(1, cores - 1)


class GateProcesses:
    """`count` processes share GATE_PORT by SO_REUSEPORT. `port` is the actual one if 0 was requested."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], count: int) -> None:
        self._settings = settings
        self._environ = {name: value for name, value in environ.items() if name not in _NOT_FOR_GATES}
        self._listening = [asyncio.Event() for _ in range(count)]
        self._stopping = False
        self._keepers: list[asyncio.Task[None]] = []
        self._running: set[asyncio.subprocess.Process] = set()
        self._reserved: list[socket.socket] = []
        self.port = 0

    def reserve_port(self) -> None:
        """Before `begin`. Raises `ConfigError` if the port is in use, also by the gate processes of another service."""
        host, port = self._settings.host, self._settings.gate_port
        try:
            # Bound but not listening, so it keeps the port and gets no connection.
            self._reserved.append(shared_socket(host, port))
            self.port = int(self._reserved[0].getsockname()[1])
            self._reserved.append(claim_shared_address(host, self.port))
        except OSError as exc:
            self._release_port()
            raise port_in_use("GATE_PORT", port, exc) from exc
        self._environ["GATE_PORT"] = str(self.port)

    def begin(self) -> None:
        """Start all, without waiting for anything. Idempotent."""
        if not self._keepers:
            self._keepers = [asyncio.create_task(self._keep(n, each)) for n, each in enumerate(self._listening, 1)]

    async def start(self) -> None:
        """`begin`, and return once each listens. Raises `ConfigError` if one refuses its configuration."""
        self.begin()
        started: asyncio.Future[Any] = asyncio.gather(*(each.wait() for each in self._listening))
        await asyncio.wait([started, *self._keepers], return_when=asyncio.FIRST_COMPLETED)
        if not started.done():
            started.cancel()
            raise ConfigError(["a gate process refused its configuration; its own lines in the log say why"])

    def reload(self) -> None:
        """Have each read apps.json and the secrets again; they notice a new apps.json by themselves."""
        for process in list(self._running):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGHUP)

    async def stop(self) -> None:
        """Let each finish its requests; what has not ended within 5 s is killed. Idempotent."""
        self._stopping = True
        for process in list(self._running):
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        if self._keepers:
            _, late = await asyncio.wait(self._keepers, timeout=STOP_SECONDS)
            for process in list(self._running):
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            for keeper in late:
                keeper.cancel()
            await asyncio.gather(*self._keepers, return_exceptions=True)
        self._release_port()

    def _release_port(self) -> None:
        while self._reserved:
            self._reserved.pop().close()

    async def _keep(self, number: int, listening: asyncio.Event) -> None:
        """Run one process, and another one whenever it ends or is silent. Return if the first one refuses to start."""
        while not self._stopping:
            started = await self._spawn(number)
            if started is None:
                await asyncio.sleep(RESTART_SECONDS)
                continue
            process, reading = started
            self._running.add(process)
            try:
                await self._watch(number, process, reading, listening)
            finally:
                self._running.discard(process)
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            if process.returncode == CONFIG_ERROR and not listening.is_set():
                return
            if not self._stopping:
                log.error("gate_process_ended", extra=fields(process=number, exit_code=process.returncode))
                await asyncio.sleep(RESTART_SECONDS)

    async def _spawn(self, number: int) -> tuple[asyncio.subprocess.Process, int] | None:
        """A process and the pipe of its heartbeat; None if the system has no room for one now."""
        try:
            reading, writing = os.pipe()
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "gateway", "gate", "serve", "--heartbeat", str(writing),
                    "--name", f"gate-{number}",
                    env=self._environ, pass_fds=(writing,), stdin=asyncio.subprocess.DEVNULL,
                )  # fmt: skip
            except BaseException:
                os.close(reading)
                raise
            finally:
                os.close(writing)
        except OSError as exc:
            log.error("gate_process_not_started", extra=fields(process=number, detail=exc.strerror))
            return None
        return process, reading

    async def _watch(
        self, number: int, process: asyncio.subprocess.Process, reading: int, listening: asyncio.Event
    ) -> None:
        """Return once the process has ended, or has been killed for its silence."""
        beats = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(beats), os.fdopen(reading, "rb", buffering=0)
        )
        seconds = START_SECONDS
        try:
            while await has_beaten(beats, seconds):
                listening.set()
                seconds = SILENT_SECONDS
        except TimeoutError:
            log.error("gate_process_silent", extra=fields(process=number, pid=process.pid))
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
        finally:
            transport.close()
        await process.wait()


async def has_beaten(beats: asyncio.StreamReader, seconds: float) -> bool:
    """Wait for a beat; False: the process has ended. Raises `TimeoutError` after `seconds`, if we ran meanwhile."""
    for _ in range(_PARTS):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds / _PARTS):
                return bool(await beats.read(64))
    raise TimeoutError
