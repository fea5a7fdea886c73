"""Numbered changes that may alter an answer, and the stream of them for the plugin, which keeps answers (T34)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import Mapping

from gateway.access.app_access import AppAccess
from gateway.access.classes import class_rules
from gateway.access.tags import encode
from gateway.gate.answers import NO_STORE
from gateway.metrics import Registry

MAX_STREAMS = 64
MAX_UNSENT_BYTES = 1_048_576
STUCK_TICKS = 5

_LAST_CHUNK = b"0\r\n\r\n"
_HEAD = "\r\n".join(
    (
        "HTTP/1.1 200 OK",
        "Content-Type: application/jsonl",
        "Transfer-Encoding: chunked",
        *(f"{name}: {value}" for name, value in NO_STORE),
        "\r\n",
    )
).encode("ascii")


class Changes:
    """Every change is numbered synchronously when the memory changes, so that no kept answer is stale.

    An answer carries the number at which it was decided; the plugin drops it when a higher number names its user, or
    all. `epoch` distinguishes the numbers of this process from those of the one before.
    """

    def __init__(self, registry: Registry) -> None:
        self.epoch = secrets.token_hex(8)
        self._number = 0
        self._rules: Mapping[str, object] = {}
        self._version = ""
        self._streams: set[Stream] = set()
        self._open = registry.gauge("skpay_gate_streams", "Open streams of changes.").of()
        self._total = registry.counter("skpay_gate_changes_total", "Changes that the gate published.").of()

    @property
    def full(self) -> bool:
        """No more streams can be opened."""
        return len(self._streams) >= MAX_STREAMS

    def user_changed(self, app_id: str, user_id: str) -> None:
        """The next answer to this user may differ."""
        self._next_number()
        if self._streams:
            self._send({"n": self._number, "app": app_id, "user": encode(user_id).decode("ascii")})

    def all_changed(self, apps: Mapping[str, AppAccess] | None = None) -> None:
        """Any answer may differ. `apps` are the apps now; None: the same as before."""
        self._next_number()
        if apps is not None:
            self._rules = {
                app_id: {"routes": [rule.as_sent() for rule in class_rules(access.policy)]}
                for app_id, access in apps.items()
            }
            text = json.dumps(self._rules, sort_keys=True).encode()
            self._version = hashlib.sha256(text).hexdigest()[:16]
        self._send({"n": self._number, "all": True, "rules": self._rules, "version": self._version})

    def keep_header_line(self, fresh_until: int, never_after: int) -> bytes:
        """The header that allows an answer to be kept: until `fresh_until` while the stream is open, longer while the
        gate is down, but never past `never_after` (0: no limit)."""
        keep = f"X-SK-Keep: {self.epoch} {self._number} {self._version} {fresh_until} {never_after}\r\n"
        return keep.encode("ascii")

    def on_tick(self) -> None:
        """Once a second: a heartbeat to each stream; slow consumers are disconnected."""
        for stream in list(self._streams):
            stream.check_stuck()
        self._send({"n": self._number})

    def add(self, stream: Stream) -> bytes:
        """The first bytes of `stream`; it gets every line from now on."""
        self._streams.add(stream)
        self._open.value = len(self._streams)
        return _HEAD + _chunk({"epoch": self.epoch, "n": self._number, "rules": self._rules, "version": self._version})

    def remove(self, stream: Stream) -> None:
        """`stream` has ended. Idempotent."""
        self._streams.discard(stream)
        self._open.value = len(self._streams)

    def _next_number(self) -> None:
        self._number += 1
        self._total.value += 1

    def _send(self, line: Mapping[str, object]) -> None:
        if self._streams:
            chunk = _chunk(line)
            for stream in list(self._streams):
                stream.send(chunk)


class Stream:
    """The endless answer: every change from now on, over one connection. No line is ever dropped; a slow consumer is
    disconnected, and reconnects."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._transport: asyncio.Transport | None = None
        self._written = self._drained = self._stuck = self._longest = 0

    def open(self, transport: asyncio.Transport) -> None:
        """Begin on a connection whose earlier answers have been written."""
        self._transport = transport
        self.send(self._changes.add(self))

    def send(self, chunk: bytes) -> None:
        """One more line."""
        if self._transport is None:
            return
        if len(chunk) > self._longest:
            # Beyond this the transport calls `pause_writing`, which ends the connection. The rules of many apps alone
            # may be larger, and a consumer must have the time to read them.
            self._longest = len(chunk)
            self._transport.set_write_buffer_limits(high=MAX_UNSENT_BYTES + self._longest)
        self._written += len(chunk)
        self._transport.write(chunk)

    def check_stuck(self) -> None:
        """Once a tick: disconnect a consumer that has read nothing for STUCK_TICKS."""
        if self._transport is None:
            return
        unsent = self._transport.get_write_buffer_size()
        drained = self._written - unsent
        self._stuck = self._stuck + 1 if unsent and drained == self._drained else 0
        self._drained = drained
        if self._stuck >= STUCK_TICKS:
            self._transport.abort()
            self.disconnected()

    def close(self) -> None:
        """End the stream properly. Idempotent."""
        self._changes.remove(self)
        if self._transport is not None:
            self._transport.write(_LAST_CHUNK)
            self._transport = None

    def disconnected(self) -> None:
        """The connection is closed or closing."""
        self._changes.remove(self)
        self._transport = None


def _chunk(line: Mapping[str, object]) -> bytes:
    """One line of JSON as one chunk."""
    text = json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n"
    return b"%x\r\n%b\r\n" % (len(text), text)
