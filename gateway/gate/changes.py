"""Numbered changes that may alter an answer, and the stream of them for the plugin, which keeps answers (T34)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence

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
    """Every change is published synchronously when the memory changes, so that no kept answer is stale.

    `epoch` and `number` are those of the change log, so an answer of one gate and the stream of another agree (T48).
    Changes that only this process knows have no number there: `own` counts them, for the id in `process`. An answer
    carries all four values of the moment at which it was decided.
    """

    def __init__(self, registry: Registry) -> None:
        self.process = secrets.token_hex(8)
        self.epoch = self.process
        self._number = self._own = 0
        self._rules: Mapping[str, object] = {}
        self._version = ""
        self._streams: set[Stream] = set()
        self._open = registry.gauge("skpay_gate_streams", "Open streams of changes.").of()
        self._total = registry.counter("skpay_gate_changes_total", "Changes that the gate published.").of()

    @property
    def full(self) -> bool:
        """No more streams can be opened."""
        return len(self._streams) >= MAX_STREAMS

    def begin(self, epoch: str, number: int) -> None:
        """Everything up to this change of the log was loaded, so any answer may differ. `epoch` is '' if it is unknown:
        then no other process has answers of the same."""
        is_same, self.epoch, self._number = epoch == self.epoch, epoch or self.process, number
        if is_same:
            self.all_changed()
        else:
            for stream in list(self._streams):
                stream.abort()  # its first line named another epoch

    def follow(self, number: int, users: Sequence[tuple[int, str, str]]) -> None:
        """The changes of the log up to `number` have been applied. `users`: number, app id and user id of each, in
        order; the user id is '' if it changes no answer."""
        for each, app_id, user_id in users:
            self._number = each
            self._total.value += 1
            self._send_user(app_id, user_id)
        self._number = number

    def user_changed(self, app_id: str, user_id: str) -> None:
        """The next answer to this user may differ, by something that only this process knows."""
        self._next_own()
        self._send_user(app_id, user_id)

    def all_changed(self, apps: Mapping[str, AppAccess] | None = None, configuration: str = "") -> None:
        """Any answer may differ. `apps` are the apps now; None: the same as before. `configuration` is a digest of what
        they were made from: only gates with the same one give the same answers."""
        self._next_own()
        if apps is not None:
            self._rules = {
                app_id: {"routes": [rule.as_sent() for rule in class_rules(access.policy)]}
                for app_id, access in apps.items()
            }
            text = json.dumps([self._rules, configuration], sort_keys=True).encode()
            self._version = hashlib.sha256(text).hexdigest()[:16]
        self._send({**self._position(), "all": True, "rules": self._rules, "version": self._version})

    def keep_header_line(self, fresh_until: int, never_after: int) -> bytes:
        """The header that allows an answer to be kept: until `fresh_until` while the stream is open, longer while the
        gate is down, but never past `never_after` (0: no limit)."""
        position = f"{self.epoch} {self._number} {self.process} {self._own} {self._version}"
        return f"X-SK-Keep: {position} {fresh_until} {never_after}\r\n".encode("ascii")

    def on_tick(self) -> None:
        """Once a second: a heartbeat to each stream; slow consumers are disconnected."""
        for stream in list(self._streams):
            stream.check_stuck()
        self._send(self._position())

    def add(self, stream: Stream) -> bytes:
        """The first bytes of `stream`; it gets every line from now on."""
        self._streams.add(stream)
        self._open.value = len(self._streams)
        begin = {"epoch": self.epoch, "process": self.process, **self._position()}
        return _HEAD + _chunk({**begin, "rules": self._rules, "version": self._version})

    def remove(self, stream: Stream) -> None:
        """`stream` has ended. Idempotent."""
        self._streams.discard(stream)
        self._open.value = len(self._streams)

    def _next_own(self) -> None:
        self._own += 1
        self._total.value += 1

    def _position(self) -> dict[str, object]:
        return {"n": self._number, "own": self._own}

    def _send_user(self, app_id: str, user_id: str) -> None:
        if self._streams:
            self._send({**self._position(), "app": app_id, "user": encode(user_id).decode("ascii")})

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
            self.abort()

    def abort(self) -> None:
        """End it at once, with the connection. Idempotent."""
        if self._transport is not None:
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
