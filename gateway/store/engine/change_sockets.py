"""Wakes readers of an SQLite database: each binds a datagram socket in a folder beside the file, the writer sends one
byte to all of them after a commit. A lost wake-up only delays a reader until it polls."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SUFFIX = ".sock"
_ATTEMPTS = 3


def folder_of(database: Path) -> Path:
    """The folder of the sockets: the first reader creates it, the last one removes it."""
    return database.with_name(database.name + ".readers")


class ChangeSender:
    """Used by the writer's thread alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def send(self) -> None:
        """Wake every reader; the socket of one that has ended is removed. Never raises."""
        with suppress(OSError), _opened(self._folder) as descriptor:  # without the folder there is no reader
            for name in os.listdir(descriptor):  # noqa: PTH208  # a path would not accept the descriptor
                if name.endswith(_SUFFIX):
                    self._send_to(descriptor, name)

    def close(self) -> None:
        self._socket.close()

    def _send_to(self, folder: int, name: str) -> None:
        try:
            self._socket.sendto(b"1", f"/proc/self/fd/{folder}/{name}")
        except ConnectionRefusedError:
            with suppress(OSError):
                os.unlink(name, dir_fd=folder)
        except OSError:
            return  # a full queue holds a wake-up already; in any other case the reader polls


class ChangeSocket:
    """A reader's socket. `wait` returns at a wake-up. Raises `OSError` where none can be bound."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"
        self._woken = asyncio.Event()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        try:
            self._bind()
        except OSError:
            self._socket.close()
            raise
        asyncio.get_running_loop().add_reader(self._socket, self._receive)

    def _bind(self) -> None:
        for attempt in range(_ATTEMPTS):
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            try:
                with _opened(self._path.parent) as descriptor:
                    self._socket.bind(f"/proc/self/fd/{descriptor}/{self._path.name}")
                return
            except FileNotFoundError:  # another reader, the last one, has just removed the folder
                if attempt + 1 == _ATTEMPTS:
                    raise

    async def wait(self, timeout_seconds: float) -> None:
        """Until a wake-up since the last `wait`, or until the timeout."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._woken.wait()
        self._woken.clear()

    async def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        self._path.unlink(missing_ok=True)
        with suppress(OSError):  # other readers use it
            self._path.parent.rmdir()

    def _receive(self) -> None:
        with suppress(OSError):
            while self._socket.recv(16):
                self._woken.set()


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """A descriptor of the folder. The path of a socket goes through it, because it is limited to 107 bytes."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
