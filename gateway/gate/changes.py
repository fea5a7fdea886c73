"""What may have changed somebody's answer, numbered, and a stream of it for whoever keeps answers (T34)."""

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
    """Raise the number in the same step of the loop in which the memory changes, and every kept answer is right.

    An answer carries the number it was decided at; whoever keeps it drops it if a higher one names its user or all.
    `epoch` tells the numbers of this process from those of the one before it.
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
        """There is no room for one more stream."""
        return len(self._streams) >= MAX_STREAMS

    def user_changed(self, app_id: str, user_id: str) -> None:
        """The next answer to this user may be another one."""
        self._next_number()
        if self._streams:
            self._send({"n": self._number, "app": app_id, "user": encode(user_id).decode("ascii")})

    def all_changed(self, apps: Mapping[str, AppAccess] | None = None) -> None:
        """Any answer may be another one from now on: these are the apps and their rules. None: the same as before."""
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
        """The header that lets an answer be kept: until `fresh_until` while the stream lives, and past it while the
        gate is gone, but never past `never_after` (0: no such instant)."""
        keep = f"X-SK-Keep: {self.epoch} {self._number} {self._version} {fresh_until} {never_after}\r\n"
        return keep.encode("ascii")

    def on_tick(self) -> None:
        """Once a second: the streams live, and whoever does not read is cut off."""
        for stream in list(self._streams):
            stream.check_stuck()
        self._send({"n": self._number})

    def add(self, stream: Stream) -> bytes:
        """What `stream` begins with; it gets every line from now on."""
        self._streams.add(stream)
        self._open.value = len(self._streams)
        return _HEAD + _chunk({"epoch": self.epoch, "n": self._number, "rules": self._rules, "version": self._version})

    def remove(self, stream: Stream) -> None:
        """`stream` has ended. Twice is once."""
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
    """The answer that never ends: every change from now on, over one connection. No line is ever dropped; a reader
    who does not keep up is cut off, and asks again."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._transport: asyncio.Transport | None = None
        self._written = self._drained = self._stuck = self._longest = 0

    def open(self, transport: asyncio.Transport) -> None:
        """Begin, on a connection on which every answer before this one has been written."""
        self._transport = transport
        self.send(self._changes.add(self))

    def send(self, chunk: bytes) -> None:
        """One more line."""
        if self._transport is None:
            return
        if len(chunk) > self._longest:
            # Past this the transport calls `pause_writing`, and the connection ends. The rules of many apps are longer
            # than it by themselves, and a reader who is told of nothing else must have the time to read them.
            self._longest = len(chunk)
            self._transport.set_write_buffer_limits(high=MAX_UNSENT_BYTES + self._longest)
        self._written += len(chunk)
        self._transport.write(chunk)

    def check_stuck(self) -> None:
        """Once a tick: cut off a reader to whom nothing could be sent for some of them."""
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
        """Tell the reader that there is no more. Twice is once."""
        self._changes.remove(self)
        if self._transport is not None:
            self._transport.write(_LAST_CHUNK)
            self._transport = None

    def disconnected(self) -> None:
        """The connection is gone, or about to be."""
        self._changes.remove(self)
        self._transport = None


def _chunk(line: Mapping[str, object]) -> bytes:
    """One line of JSON as one chunk."""
    text = json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n"
    return b"%x\r\n%b\r\n" % (len(text), text)
