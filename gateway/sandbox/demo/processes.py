"""Starts, awaits and stops what the demo consists of."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import IO

import aiohttp
from aiohttp import web

from gateway.errors import ConfigError, UpstreamFailed

READY_SECONDS = 40.0
STOP_SECONDS = 12.0


def find_traefik() -> str:
    """The path of the binary. Raises `ConfigError`."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    found = shutil.which("traefik", path=places)
    if found is None:
        raise ConfigError(["traefik: not found; install it with: pip install 'skpayments[demo]'"])
    return found


def free_port(requested: int, taken: Collection[int]) -> int:
    """`requested`, or another free port if that is in use; none of `taken`. 0: any, below those that the system gives
    to outgoing connections: one of them could take it before the server does."""
    others = (10_000 + secrets.randbelow(22_000) for _ in range(100))
    for port in (requested, *others) if requested else others:
        if port in taken:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ConfigError(["there is no free port on 127.0.0.1"])


async def serve(stack: contextlib.AsyncExitStack, application: web.Application, port: int) -> None:
    """Serve on loopback in this process until `stack` closes."""
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", port).start()


async def run(
    stack: contextlib.AsyncExitStack, command: list[str], env: dict[str, str], log: Path
) -> asyncio.subprocess.Process:
    """Start a process that `stack` stops. It gets a session of its own, so that Ctrl-C reaches this process only."""
    with _opened(log) as file:
        process = await asyncio.create_subprocess_exec(
            *command, env=env, stdin=asyncio.subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )
    stack.push_async_callback(_stop, process)
    return process


def _opened(log: Path) -> IO[bytes]:
    return log.open("wb")


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


async def run_once(command: list[str], env: dict[str, str]) -> None:
    """Run a command to its end. Raises `UpstreamFailed` with its output if it fails."""
    process = await asyncio.create_subprocess_exec(
        *command, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise UpstreamFailed(f"{' '.join(command[2:])} failed:\n{output.decode(errors='replace')}")


async def wait_until_up(process: asyncio.subprocess.Process, url: str, log: Path, host: str | None = None) -> None:
    """Wait until the process answers 200. Raises `UpstreamFailed` with the end of its log if it does not."""
    deadline = time.monotonic() + READY_SECONDS
    headers = {"Host": host, "Accept": "application/json"} if host else {}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
        # If the process has ended, another one may have its port and answer.
        while time.monotonic() < deadline and process.returncode is None:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with session.get(url, headers=headers, allow_redirects=False) as response:
                    if response.status == 200 and process.returncode is None:
                        return
            await asyncio.sleep(0.1)
    what = f"did not answer 200 within {READY_SECONDS:.0f} s" if process.returncode is None else "ended"
    raise UpstreamFailed(f"The server of {url} {what}. The end of {log}:\n{log_end(log)}")


def log_end(log: Path, lines: int = 15) -> str:
    """The last lines of a log file."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
