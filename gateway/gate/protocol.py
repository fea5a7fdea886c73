"""One connection to the gate."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Protocol, cast

from gateway.gate import answers
from gateway.gate.changes import Stream
from gateway.gate.credential_lookups import PendingAnswer
from gateway.gate.handler import GateHandler
from gateway.gate.reader import LastAnswer, Reader
from gateway.gate.request import Headers
from gateway.metrics import Value

log = logging.getLogger(__name__)

_MAX_DROPPED_BYTES = 1_048_576


class ConnectionOwner(Protocol):
    """What a connection needs of its listener. `tick` counts seconds."""

    gate: GateHandler
    cached_answer: Callable[[bytes], bytes | None]
    failed: Value
    observe: Callable[[float], None]
    tick: int

    def admit(self, connection: Connection) -> bytes | None: ...

    def remove_connection(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """Requests are answered in their order; the first malformed one ends the connection.

    A whole request that is in the request cache is answered from it; every other one goes to the `Reader`. While an
    answer waits for a lookup or for limits, nothing more is read, and the answers behind it wait too.
    """

    def __init__(self, listener: ConnectionOwner) -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._reader: Reader | None = None
        self._raw_request: bytes | None = None
        self._close_after_answer = False
        self._out: list[bytes] = []
        self._queued_answers: deque[bytes | asyncio.Task[bytes]] | None = None  # the first that waits, and all after it
        self._dropped_bytes = 0
        self.closing = False
        self.stream: Stream | None = None
        # Ticks of the listener's clock, one a second.
        self.active_at = listener.tick
        self.head_started_at: int | None = None
        self.stalled_at: int | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, not an assert: uvloop's transports are no subclass of asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)
        refusal = self._listener.admit(self)
        if refusal is not None:
            self.end(refusal)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        self._transport = None
        if self.stream is not None:
            self.stream.disconnected()
        self._listener.remove_connection(self)

    def eof_received(self) -> bool:
        """A half-closed peer gets the answers already written; then the connection closes."""
        return False

    def pause_writing(self) -> None:
        """The peer does not read its answers: read no more of its requests."""
        if self.stream is not None:
            self.abort()
            return
        self.stalled_at = self._listener.tick
        if self._transport is not None and not self.closing:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self.stalled_at = None
        self._read_on()

    def _read_on(self) -> None:
        if self._transport is not None and not (self.closing or self.is_waiting) and self.stalled_at is None:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        started = perf_counter()
        listener = self._listener
        answer = None
        if self._reader is None and not self.closing:
            try:
                answer = listener.cached_answer(data)
            except Exception:
                # An internal error of the cache; the full parser may still answer.
                log.exception("gate_request_failed")
                listener.failed.value += 1
        if answer is None or self._transport is None:
            self._read(data)
            return
        self._transport.write(answer)
        self.active_at = listener.tick
        listener.observe(perf_counter() - started)

    def _read(self, data: bytes) -> None:
        if self.closing or self.stream is not None:
            # These bytes do not count as activity, or a slow sender could keep the connection open.
            self._dropped_bytes += len(data)
            if self._dropped_bytes > _MAX_DROPPED_BYTES:
                self.abort()
            return
        self.active_at = self._listener.tick
        try:
            self._parse_request(data)
        except LastAnswer as last:
            if self.stream is None and not self.is_waiting:
                self.end(last.answer)
                return
            self._close_after_answer = True
            if self._queued_answers is not None and last.answer is not None:
                self._queued_answers.append(last.answer)
        self._write_ready_answers()

    def _write_ready_answers(self) -> None:
        """Write the answers that are ready; once none waits, also the one that ends the connection."""
        if self.stream is not None and not self.is_waiting:
            self._open(self.stream)
        elif self._close_after_answer and self._out and not self.is_waiting:
            self.end(self._out.pop())
        elif self._out:
            self._flush()

    def _parse_request(self, data: bytes) -> None:
        self._raw_request = None
        if self._reader is None:
            self._reader = Reader(self._receive, self._listener.gate.reads)
            self._raw_request = data
        completed = self._reader.feed(data)
        if self._reader.idle:
            self.head_started_at = None
            self._release_reader()
        elif completed or self.head_started_at is None:
            self.head_started_at = self._listener.tick

    def _release_reader(self) -> None:
        """The next request may be a cached one, unless an answer still waits."""
        if self._reader is not None and self._reader.idle and not (self.is_waiting or self._close_after_answer):
            self._reader = None

    def _receive(self, method: bytes, url: bytes, headers: Headers, keep_alive: bool) -> None:
        if not keep_alive or method != b"GET":
            self._raw_request = None
        answer = self._respond(method, url, headers)
        last = not keep_alive or self._close_after_answer
        if isinstance(answer, bytes) and self._queued_answers is None:
            if last:
                raise LastAnswer(answer)
            self._out.append(answer)
            return
        if isinstance(answer, Stream):
            self.stream, last = answer, True
        else:
            self._enqueue_answer(answer)
        if last:
            raise LastAnswer(None)

    def _respond(self, method: bytes, url: bytes, headers: Headers) -> bytes | Stream | asyncio.Task[bytes]:
        """The gate's answer; an internal error is answered, and the server keeps running."""
        started = perf_counter()
        try:
            answer = self._listener.gate.answer(method, url, headers, self._raw_request)
        except Exception:
            answer = self._internal_error()
        if isinstance(answer, bytes):
            self._listener.observe(perf_counter() - started)
            return answers.without_body(answer) if method == b"HEAD" else answer
        if isinstance(answer, Stream):
            return answer
        return asyncio.create_task(self._await_answer(answer, method, started))

    def _internal_error(self) -> bytes:
        log.exception("gate_request_failed")
        self._listener.failed.value += 1
        self._close_after_answer = True
        return answers.INTERNAL

    # waiting

    async def _await_answer(self, waiting: PendingAnswer, method: bytes, started: float) -> bytes:
        try:
            answer = await waiting
        except Exception:
            answer = self._internal_error()
        self._listener.observe(perf_counter() - started)
        return answers.without_body(answer) if method == b"HEAD" else answer

    @property
    def is_waiting(self) -> bool:
        """For a lookup or for limits; not longer than a second."""
        return self._queued_answers is not None

    def _enqueue_answer(self, answer: bytes | asyncio.Task[bytes]) -> None:
        if self._queued_answers is None:
            self._queued_answers = deque()
            if self._transport is not None:
                self._transport.pause_reading()
        self._queued_answers.append(answer)
        if isinstance(answer, asyncio.Task):
            answer.add_done_callback(self._on_answer_ready)

    def _on_answer_ready(self, task: asyncio.Task[bytes]) -> None:
        """Write this answer and those behind it, up to the next one that waits."""
        behind = self._queued_answers
        if behind is None or self.closing:
            return
        while behind:
            first = behind[0]
            if isinstance(first, asyncio.Task):
                if not first.done():
                    break
                first = answers.INTERNAL if first.cancelled() else first.result()
            self._out.append(first)
            behind.popleft()
        if not behind:
            self._queued_answers = None
            self._release_reader()
            self._read_on()
        self._write_ready_answers()

    # writing

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def _open(self, stream: Stream) -> None:
        """Write the answers before it; what the peer sends from now on is dropped."""
        if self._out:
            self._flush()
        if self._transport is not None:
            stream.open(self._transport)

    def end(self, last: bytes | None) -> None:
        """Write the answers that are ready and `last`, then close; the peer's further bytes are dropped.

        After an answer only our half is closed, until the peer closes its own or LINGER_SECONDS pass: closing a socket
        with unread bytes resets it, and the peer may never read the answer.
        """
        if self.closing:
            return
        self.closing = True
        self.active_at = self._listener.tick
        if self.stream is not None:
            self.stream.close()
        if last is not None:
            self._out.append(answers.with_connection_close(last))
        if self._transport is None:
            return
        if self._out:
            self._flush()
            self._transport.write_eof()
        else:
            self._transport.close()

    def finish(self) -> None:
        """Close now if no request is in progress, else after the next answer."""
        self._close_after_answer = True
        if self._reader is None or self.stream is not None:
            self.end(None)

    def abort(self) -> None:
        """Drop the connection and the answers that it has not read."""
        self.closing = True
        if self.stream is not None:
            self.stream.disconnected()
        if self._transport is not None:
            self._transport.abort()
