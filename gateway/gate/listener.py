"""The gate's port: accepts, times out and drains its connections."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from gateway.gate import answers
from gateway.gate.handler import GateHandler
from gateway.gate.protocol import Connection
from gateway.gate.sockets import listening_socket, shared_socket
from gateway.log import fields

log = logging.getLogger(__name__)

HEAD_SECONDS = 10
# Traefik closes an idle connection after 90 s; were we first, it could send a request into the closing one.
IDLE_SECONDS = 120
STALLED_SECONDS = 20
LINGER_SECONDS = 5
MAX_CONNECTIONS = 16_384
_BACKLOG = 2048
_BOUNDS = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.01, 0.1, 1)


class Listener:
    """A listening gate. `port` is the actual one if 0 was requested."""

    def __init__(self, gate: GateHandler, max_connections: int, tick_seconds: float) -> None:
        self.gate = gate
        self.cached_answer: Callable[[bytes], bytes | None] = gate.request_cache.answer
        self.tick = 0
        self.draining = False
        self.failed = gate.registry.counter(
            "skpay_gate_failures_total", "Requests that failed with an internal error."
        ).of()
        seconds = gate.registry.histogram(
            "skpay_gate_seconds", "Seconds from a complete request to its answer.", _BOUNDS
        )
        self.observe: Callable[[float], None] = seconds.of().observe
        self._open = gate.registry.gauge("skpay_gate_connections", "Open connections to the gate.").of()
        self._max_connections = max_connections
        self._tick_seconds = tick_seconds
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._empty.set()

    async def start(self, host: str, port: int, *, shared: bool) -> None:
        loop = asyncio.get_running_loop()
        sock = shared_socket(host, port) if shared else listening_socket(host, port, _BACKLOG)
        if sock is None:
            self._server = await loop.create_server(lambda: Connection(self), host, port, backlog=_BACKLOG)
        else:
            self._server = await loop.create_server(lambda: Connection(self), sock=sock, backlog=_BACKLOG)
        self._timer = loop.call_later(self._tick_seconds, self._sweep)
        log.info("gate_listening", extra=fields(host=host, port=self.port))

    @property
    def port(self) -> int:
        if self._server is None or not self._server.sockets:
            raise RuntimeError("the gate is not listening")
        return int(self._server.sockets[0].getsockname()[1])

    def admit(self, connection: Connection) -> bytes | None:
        """Count a new connection. What it is answered if there are too many, or if the gate stops; beyond twice the
        limit it is aborted without an answer."""
        self._connections.add(connection)
        self._empty.clear()
        count = len(self._connections)
        self._open.value = count
        if count > 2 * self._max_connections:
            connection.abort()
        if self.draining:
            return answers.STOPPING
        return answers.TOO_MANY if count > self._max_connections else None

    def remove_connection(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._open.value = len(self._connections)
        if not self._connections:
            self._empty.set()

    async def close(self, timeout_seconds: float = 5) -> None:
        """Stop accepting, finish the requests in progress, then close. Idempotent."""
        self.draining = True
        if self._timer is not None:
            self._timer.cancel()
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.finish()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._empty.wait()
        for connection in list(self._connections):
            connection.abort()

    def _sweep(self) -> None:
        """Once a tick: check each connection, instead of a timer for each request."""
        self.tick += 1
        self.gate.changes.on_tick()
        for connection in list(self._connections):
            quiet = self.tick - connection.active_at
            if connection.closing:
                if quiet > LINGER_SECONDS:
                    connection.abort()
            elif connection.stream is not None or connection.is_waiting:
                continue  # `on_tick` has checked the one, and the other has its own timeout
            elif connection.stalled_at is not None and self.tick - connection.stalled_at > STALLED_SECONDS:
                connection.abort()
            elif connection.head_started_at is not None and self.tick - connection.head_started_at > HEAD_SECONDS:
                connection.end(answers.TOO_SLOW)
            elif quiet > IDLE_SECONDS:
                connection.end(None)
        self._timer = asyncio.get_running_loop().call_later(self._tick_seconds, self._sweep)


async def listen(
    gate: GateHandler,
    host: str,
    port: int,
    *,
    max_connections: int = MAX_CONNECTIONS,
    tick_seconds: float = 1,
    shared: bool = False,
) -> Listener:
    """Serve `gate` at this address until `close`. `shared`: other processes may listen there too.

    `tick_seconds` is the unit of the timeouts; tests make it short.

    Raises `OSError` if the address is taken.
    """
    listener = Listener(gate, max_connections, tick_seconds)
    await listener.start(host, port, shared=shared)
    return listener
