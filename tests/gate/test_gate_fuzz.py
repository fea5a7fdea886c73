"""Raw bytes at the listener: no content and no cut yields another user's answer or a crash."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import cookies as http_cookies

from access.access_samples import NOW, session
from gate.gate_stage import GATE_SECRET, Stage, Written, ask, head, raw, stage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.gate import protocol

UNHURRIED = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
MIB = 1_048_576
TIERS = {"alice": "pro", "bob": "free", "carol": "free"}
USERS = {session(user): user for user in TIERS}
ALICE, BOB, CAROL = (token.decode() for token in USERS)
EXPIRED = session("alice", NOW - 100).decode()

# Every way to send a credential, valid and invalid.
CREDENTIALS: list[list[tuple[str, str]]] = [
    [], [("Cookie", f"token={ALICE}")], [("Cookie", f"token={BOB}")], [("Authorization", f"Bearer {CAROL}")],
    [("X-Api-Key", ALICE)], [("Cookie", f"a=b; token={BOB}"), ("Authorization", f"Bearer {ALICE}")],
    [("cookie", f"token={ALICE}"), ("X-Api-Key", BOB)], [("Cookie", f"token={BOB}; token={ALICE}")],
    [("Cookie", "a=b"), ("Cookie", f"token={ALICE}")], [("Authorization", "Basic eA=="), ("Cookie", f"token={BOB}")],
    [("Cookie", f"token={EXPIRED}")], [("Authorization", "Bearer x")], [("X-Odd", f"token={ALICE}")],
    [("X-Sk-User", "alice"), ("X_Sk_Tier", "pro")], [("Accept", "a"), ("Accept", "b")],
    [("Cookie", f"token={ALICE}"), ("Accept", "a"), ("Accept", "b")],
]  # fmt: skip
# The user of each: "" if anonymous, None if the request is refused.
EXPECTED = [
    "", "alice", "bob", "carol", "alice", "alice", "alice", "alice", "alice", "bob", "", None, "", "", "", "alice",
]  # fmt: skip
PATHS = ("/", "/static/x", "/pro", "/x?y")
# Bytes that may confuse a parser or join two requests.
SPLINTERS = [
    b"\r\n", b"\n", b"\r", b"\0", b" ", b": ", b"\r\n\r\n", b"\n\n", b"\xff", b"\r\n ", b"0\r\n\r\n", b"Cookie: ",
    b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"Expect: 100-continue\r\n", b"GET /gate?app=skai HTTP/1.1\r\n",
    f"Cookie: token={ALICE}\r\n".encode(), f"X-Sk-Gate: {GATE_SECRET}\r\n".encode(), b"HTTP/1.0", b"HEAD ", b"\x16\x03",
]  # fmt: skip


def mutated(stream: bytes, edits: Sequence[tuple[int, int, int]]) -> bytes:
    """`edits`: where, how much, what: bytes inserted, changed, removed, doubled or moved."""
    data = bytearray(stream)
    for where, much, what in edits:
        at = where % (len(data) + 1)
        if what < len(SPLINTERS):
            data[at:at] = SPLINTERS[what]
        elif what % 4 == 0 and at < len(data):
            data[at] = much % 256
        elif what % 4 == 1:
            del data[at : at + much]
        elif what % 4 == 2:
            data[at:at] = data[at : at + much]
        else:
            piece = bytes(data[at : at + much])
            del data[at : at + much]
            data += piece
    return bytes(data)


def cut(stream: bytes, places: Sequence[int]) -> list[bytes]:
    """The stream in pieces, cut at these places."""
    at = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[start:end] for start, end in itertools.pairwise(at)]


class _Careful(protocol.Connection):
    """Never uses the request cache."""

    def data_received(self, data: bytes) -> None:
        self._read(data)


def answered(on: Stage, pieces: Sequence[bytes], kind: type[protocol.Connection] = protocol.Connection) -> bytes:
    """All answers of a connection to these pieces."""
    transport = Written()
    connection = kind(on.listener)
    connection.connection_made(transport)  # type: ignore[arg-type]  # a transport as far as a connection needs it
    for piece in pieces:
        connection.data_received(piece)
    connection.connection_lost(None)
    return transport.data


@asynccontextmanager
async def primed() -> AsyncIterator[Stage]:
    """A gate whose request cache has the requests of every user."""
    async with stage() as on:
        for sent, as_go in itertools.product(CREDENTIALS, (True, False)):
            request = written(sent, "/", as_go)
            check(request, answered(on, [request]))
        assert len(on.gate.request_cache) > 10
        yield on


def user_of(request: bytes) -> str | None:
    """The user of this request by a hand-written oracle: "" if anonymous, None if it is refused."""
    fields: dict[bytes, list[bytes]] = {}
    for line in request.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        fields.setdefault(name.lower(), []).append(value.strip(b" \t"))
    bearers, proofs = fields.get(b"authorization", []), fields.get(b"x-sk-gate", [])
    if not proofs and bearers == [b"Bearer " + GATE_SECRET.encode()]:
        bearers = []
    elif len(proofs) != 1 or proofs[0] not in (GATE_SECRET.encode(), b"old-gate-secret-89abcdef0123456789ab"):
        return None
    if len(bearers) > 1:
        return None
    if bearers and bearers[0][:7].lower() == b"bearer " and bearers[0][7:].strip() not in (b"", b"undefined", b"null"):
        return USERS.get(bearers[0][7:].strip())
    crumbs = [crumb.decode("latin-1").partition("=") for crumb in b";".join(fields.get(b"cookie", [])).split(b";")]
    tokens = [value.strip() for name, equals, value in crumbs if equals and name.strip() == "token"]
    keys = [key.decode("latin-1") for key in fields.get(b"x-api-key", [])]
    cookie = http_cookies._unquote(tokens[-1]) if tokens else ""  # type: ignore[attr-defined]  # what Starlette calls
    if cookie:
        return USERS.get(cookie.encode("latin-1"), "")
    if not any(keys):
        return ""
    return USERS.get(keys[0].encode("latin-1")) if len(keys) == 1 else None


def check(stream: bytes, answer: bytes) -> None:
    """Every 200 names exactly the user of the credential in its own request."""
    requests = [piece for piece in stream.split(b"\r\n\r\n")[:-1] if piece.strip(b"\r\n")]
    answers = re.split(rb"(?=HTTP/1\.1 )", answer)[1:]
    assert answer == b"".join(answers)
    for number, text in enumerate(answers):
        if not text.startswith(b"HTTP/1.1 200 "):
            assert b"\r\nX-SK-User" not in text
            continue
        user = re.findall(rb"\r\nX-SK-User: (.*)\r\n", text)
        tier = re.findall(rb"\r\nX-SK-Tier: (.*)\r\n", text)
        user_id = user_of(requests[number].lstrip(b"\r\n"))
        if user:
            assert [name.decode() for name in user] == [user_id]
            assert [name.decode() for name in tier] == [TIERS[user_id or ""]]
        else:
            # Anonymous, or an invalid credential on a public path.
            assert tier == [b"free"]
            assert not user_id


Request = tuple[list[tuple[str, str]], str, bool]
REQUEST: st.SearchStrategy[Request] = st.tuples(st.sampled_from(CREDENTIALS), st.sampled_from(PATHS), st.booleans())
REQUESTS = st.lists(REQUEST, min_size=1, max_size=4)
EDITS = st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 300), st.integers(0, 40)), max_size=5)
CUTS = st.lists(st.integers(0, 4000), max_size=6)


def written(credential: list[tuple[str, str]], path: str, as_go: bool) -> bytes:
    """`as_go`: headers in the order in which Traefik sends them; else the credentials are last."""
    return raw(head(uri=path, more=credential) if as_go else [*head(uri=path), *credential])


@given(REQUESTS, EDITS, CUTS)
@UNHURRIED
def test_each_answer_names_the_user_of_its_own_request(
    requests: list[Request], edits: list[tuple[int, int, int]], cuts: list[int]
) -> None:
    async def play() -> None:
        async with primed() as on:
            stream = mutated(b"".join(written(*request) for request in requests), edits)
            check(stream, answered(on, cut(stream, cuts)))
            assert on.listener.failed.value == 0

    asyncio.run(play())


@given(st.lists(st.tuples(REQUEST, st.just([]) | EDITS), min_size=2, max_size=6))
@UNHURRIED
def test_nothing_of_one_request_reaches_the_next(requests: list[tuple[Request, list[tuple[int, int, int]]]]) -> None:
    """Each in a read of its own, as Traefik sends them; some are broken, and leave the quick way half done."""

    async def play() -> None:
        async with primed() as on:
            pieces = [mutated(written(*request), edits) for request, edits in requests]
            answer = answered(on, pieces)
            check(b"".join(pieces), answer)
            assert answered(on, pieces, _Careful) == answer

    asyncio.run(play())


@given(REQUESTS, EDITS, CUTS)
@UNHURRIED
def test_the_same_bytes_get_the_same_answer_however_they_are_cut_and_read(
    requests: list[Request], edits: list[tuple[int, int, int]], cuts: list[int]
) -> None:
    async def play() -> None:
        async with primed() as on:
            whole = [written(*request) for request in requests]
            stream = mutated(b"".join(whole), edits)
            first = answered(on, [stream], _Careful)
            assert answered(on, [stream]) == first
            assert answered(on, cut(stream, cuts)) == first
            assert answered(on, cut(stream, cuts), _Careful) == first
            assert answered(on, [stream[at : at + 1] for at in range(len(stream))]) == first
            if not edits:
                assert answered(on, whole) == first

    asyncio.run(play())


def test_the_hand_written_oracle_agrees_with_the_gate() -> None:
    """The oracle must not find every request anonymous."""

    async def play() -> None:
        async with stage() as on:
            for credential, user_id in zip(CREDENTIALS, EXPECTED, strict=True):
                request = written(credential, "/", True)
                assert user_of(request[:-4]) == user_id
                text = answered(on, [request])
                assert text.startswith(b"HTTP/1.1 401 " if user_id is None else b"HTTP/1.1 200 ")
                assert (f"X-SK-User: {user_id}\r\n".encode() in text) == bool(user_id)

    asyncio.run(play())


async def test_garbage_over_real_sockets_neither_hangs_nor_crashes_it() -> None:
    """Mutated and random streams, many at once, each cut off in the end; the gate closes every one of them."""
    chance = random.Random(20)  # noqa: S311  # to break things, not to keep them

    def stream() -> bytes:
        if chance.random() < 0.3:
            return chance.randbytes(chance.randrange(3000))
        chosen = [
            written(chance.choice(CREDENTIALS), "/", chance.random() < 0.5) for _ in range(chance.randrange(1, 5))
        ]
        edits = [(chance.randrange(4000), chance.randrange(1, 300), chance.randrange(40)) for _ in range(4)]
        return mutated(b"".join(chosen), edits)

    async def one(port: int) -> None:
        data = stream()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(10):
            for piece in cut(data, [chance.randrange(4000) for _ in range(4)]):
                writer.write(piece)
                await asyncio.sleep(0)
            writer.write_eof()
            check(data, await reader.read())
        writer.close()

    async with stage(max_connections=200) as on:
        for _ in range(10):
            await asyncio.gather(*(one(on.port) for _ in range(40)))
        assert on.listener.failed.value == 0
        assert (await ask(on.port, user="alice")).tags == ("skai", "alice", "pro", "images")


async def test_endless_input_takes_no_memory() -> None:
    """64 MiB each of a URL, a header's name, its value, many headers, empty lines, and of more after the refusal."""
    start = b"GET /gate?app=skai HTTP/1.1\r\n"
    async with stage() as on:
        for endless in (b"GET /" + b"a" * 99, start + b"a" * 99, start + b"a: " + b"a" * 99, start, b"\r\n"):
            more = b"X-A: b\r\n" * 8192 if endless == start else endless[-1:] * 65_536
            tracemalloc.start()
            answered(on, [endless, *[more] * 1024])
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 2 * MIB
