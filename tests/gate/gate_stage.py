"""A real gate listener on loopback, and raw bytes to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import httptools
from access.access_samples import APP, NOW, SECRETS, session

from gateway.access import links
from gateway.access.app_access import app_access
from gateway.access.assertion import Signer, assertion_keys
from gateway.access.authentication import ResolveLookup
from gateway.access.keys import KeyOwner, key_hash
from gateway.access.table import TierTable
from gateway.catalog.model import App
from gateway.gate import GateHandler, Listener, listen
from gateway.gate.protocol import Connection
from gateway.metrics import Registry
from gateway.settings import Secret

GATE_SECRET = "gate-secret-0123456789abcdef01234567"
OLD_GATE_SECRET = "old-gate-secret-89abcdef0123456789ab"
LINK_KEY = b"link-key-of-thirty-two-bytes-long!!"
SIGNER = Signer("https://pay.example.com", assertion_keys((Secret("admin-token-0123456789abcdef"),)))
ARRIVAL_KEYS = (b"arrival-key-of-thirty-two-bytes!!", b"the-arrival-key-before-that-one!")
USER_KEYS = {key_hash("skp_alice"): KeyOwner("skai", "alice")}


@dataclass
class Stage:
    """A running gate and the users that it reported."""

    gate: GateHandler
    listener: Listener
    table: TierTable
    received: list[tuple[str, str]] = field(default_factory=list)
    document: bytes | None = None
    now: float = NOW

    @property
    def port(self) -> int:
        return self.listener.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def count(self, app: str, tier: str, outcome: str) -> float:
        return (
            self.gate.registry.counter("skpay_gate_requests_total", "", ("app", "tier", "outcome"))
            .of(app, tier, outcome)
            .value
        )


@asynccontextmanager
async def stage(
    *apps: App,
    ready: bool = True,
    max_connections: int = 64,
    tick_seconds: float = 1,
    resolve: ResolveLookup | None = None,
) -> AsyncIterator[Stage]:
    """A gate for these apps (the sample app) with alice on pro."""
    table = TierTable()
    table.set("skai", "alice", "pro")
    started: list[Stage] = []
    gate = GateHandler(
        secrets=(Secret(GATE_SECRET), Secret(OLD_GATE_SECRET)),
        public_url="https://pay.example.com",
        table=table,
        sign_link=partial(links.sign, LINK_KEY),
        registry=Registry(),
        on_first_seen=lambda app_id, user_id: started[0].received.append((app_id, user_id)),
        traefik_document=lambda: started[0].document,
        resolve=resolve,
        echo_token_keys=ARRIVAL_KEYS,
        clock=lambda: started[0].now,
    )
    gate.install({app.app_id: app_access(app, SECRETS, USER_KEYS) for app in apps or (APP,)}, SIGNER)
    gate.ready = ready
    listener = await listen(gate, "127.0.0.1", 0, max_connections=max_connections, tick_seconds=tick_seconds)
    started.append(Stage(gate, listener, table))
    try:
        yield started[0]
    finally:
        await listener.close(0.2)


def head(
    *,
    uri: str | None = "/",
    method: str | None = "GET",
    host: str | None = "chat.example.com",
    user: str | None = None,
    secret: str | None = GATE_SECRET,
    more: Iterable[tuple[str, str]] = (),
) -> list[tuple[str, str]]:
    """The headers of a call as Traefik makes it, in the order in which Go writes them."""
    lines = [("X-Forwarded-For", "10.0.0.7"), ("X-Forwarded-Port", "443"), ("X-Forwarded-Proto", "https"), *more]
    optional = [("X-Forwarded-Host", host), ("X-Forwarded-Uri", uri), ("X-Forwarded-Method", method)]
    lines += [(name, value) for name, value in (*optional, ("X-Sk-Gate", secret)) if value is not None]
    if user is not None:
        lines.append(("Cookie", f"token={session(user).decode()}"))
    first = [("Host", "skpayments:8081"), ("User-Agent", "Go-http-client/1.1")]
    return [*first, *sorted(lines, key=lambda line: line[0]), ("Accept-Encoding", "gzip")]


def raw(lines: Iterable[tuple[str, str]], target: str = "/gate?app=skai", method: str = "GET") -> bytes:
    """A call as bytes."""
    text = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines) + "\r\n"
    return text.encode("latin-1")


@dataclass
class Answer:
    """One answer, read by httptools in the client's role."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    complete: bool = False

    def header(self, name: str) -> str | None:
        """The value of a header that occurs at most once."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) <= 1, (name, values)
        return values[0] if values else None

    @property
    def json(self) -> dict[str, object]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found

    @property
    def tags(self) -> tuple[str | None, str | None, str | None, str | None]:
        """App, user, tier, features."""
        names = ("X-SK-App", "X-SK-User", "X-SK-Tier", "X-SK-Features")
        app, user, tier, features = (self.header(name) for name in names)
        return app, user, tier, features


class _Answers:
    def __init__(self) -> None:
        self.all: list[Answer] = []
        self.parser = httptools.HttpResponseParser(self)

    def on_message_begin(self) -> None:
        self.all.append(Answer())

    def on_header(self, name: bytes, value: bytes) -> None:
        self.all[-1].headers.append((name.decode("ascii"), value.decode("ascii")))

    def on_headers_complete(self) -> None:
        self.all[-1].status = self.parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        self.all[-1].body += data

    def on_message_complete(self) -> None:
        self.all[-1].complete = True


async def exchange(port: int, *pieces: bytes, answers: int = 1, until_closed: bool = False) -> list[Answer]:
    """Send the pieces, each in a write of its own, and read that many answers, or all until the gate closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = _Answers()
    try:
        async with asyncio.timeout(10):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            while until_closed or sum(answer.complete for answer in found.all) < answers:
                data = await reader.read(65_536)
                if not data:
                    break
                found.parser.feed_data(data)
    finally:
        writer.close()
    return found.all


async def ask(port: int, target: str = "/gate?app=skai", **changes: object) -> Answer:
    """One call as Traefik makes it, changed."""
    (answer,) = await exchange(port, raw(head(**changes), target))  # type: ignore[arg-type]  # the names are head's
    return answer


class Written:
    """A transport that only records what is written, to test many requests without sockets."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    def write_eof(self) -> None:
        pass

    close = abort = pause_reading = resume_reading = write_eof


def read(on: Stage, pieces: list[bytes]) -> bytes:
    """The answers of one connection to these pieces."""
    transport = Written()
    connection = Connection(on.listener)
    connection.connection_made(transport)  # type: ignore[arg-type]  # a transport as far as a connection needs it
    for piece in pieces:
        connection.data_received(piece)
    connection.connection_lost(None)
    return transport.data
