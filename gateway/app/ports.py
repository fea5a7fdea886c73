"""Opens the ports that the service listens on."""

from __future__ import annotations

import errno
from collections.abc import Awaitable
from typing import TypeVar

from aiohttp import web

from gateway.errors import ConfigError
from gateway.gate import listening_socket

T = TypeVar("T")

_BACKLOG = 128


async def open_site(runner: web.AppRunner, host: str, port: int) -> None:
    sock = listening_socket(host, port, _BACKLOG)
    await (web.TCPSite(runner, host, port) if sock is None else web.SockSite(runner, sock)).start()


async def bound(name: str, port: int, opening: Awaitable[T]) -> T:
    """The opened port. Raises `ConfigError` that names the setting if the port is in use."""
    try:
        return await opening
    except OSError as exc:
        raise port_in_use(name, port, exc) from exc


def port_in_use(name: str, port: int, error: OSError) -> ConfigError:
    """The error that names the setting."""
    reason = "is already in use" if error.errno == errno.EADDRINUSE else f"cannot be opened: {error.strerror}"
    return ConfigError([f"{name}: port {port} {reason}; stop what listens there, or set {name} to another port"])
