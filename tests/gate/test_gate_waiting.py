"""Answers that wait for a credential lookup."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop
from access.access_samples import APP, NOW, SECRETS, SESSION_REF, with_app
from gate.gate_stage import SIGNER, USER_KEYS, Answer, Stage, ask, exchange, head, raw, stage

from gateway.access.app_access import app_access
from gateway.access.authentication import AuthenticatedUser, CredentialLookup, RejectedCredential
from gateway.catalog.identity import OpenWebUIIdentity, UserKeyIdentity
from gateway.catalog.model import Route
from gateway.errors import UpstreamFailed
from gateway.gate import credential_lookups

INTROSPECTED = with_app(identity=(OpenWebUIIdentity(SESSION_REF, introspect="http://app:8080"), UserKeyIdentity()))


@dataclass
class FakeProvider:
    """An identity provider: answers a lookup at once if the result is known, else when it is set."""

    known: dict[bytes, AuthenticatedUser | RejectedCredential | Exception] = field(default_factory=dict)
    requests: list[bytes] = field(default_factory=list)
    cancelled: list[bytes] = field(default_factory=list)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def resolve(self, app_id: str, ask: CredentialLookup) -> AuthenticatedUser | RejectedCredential:
        self.requests.append(ask.credential)
        try:
            async with self.news:
                await self.news.wait_for(lambda: ask.credential in self.known)
        except asyncio.CancelledError:
            self.cancelled.append(ask.credential)
            raise
        found = self.known[ask.credential]
        if isinstance(found, Exception):
            raise found
        return found

    async def answer(self, key: str, found: AuthenticatedUser | RejectedCredential | Exception) -> None:
        async with self.news:
            self.known[key.encode()] = found
            self.news.notify_all()

    async def until_requested(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.requests) < count:  # noqa: ASYNC110  # what the gate does, not an event of ours
                await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def lookup_stage(tick_seconds: float = 1) -> AsyncIterator[tuple[Stage, FakeProvider]]:
    provider = FakeProvider()
    async with stage(INTROSPECTED, resolve=provider.resolve, tick_seconds=tick_seconds) as on:
        yield on, provider
        for key in set(provider.requests):
            await provider.answer(key.decode(), UpstreamFailed("the test is over"))


@contextlib.asynccontextmanager
async def patient_lookups() -> AsyncIterator[None]:
    """No request is given up because the machine is busy."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("gateway.gate.forward_auth.LOOKUP_TIMEOUT_SECONDS", 30)
        yield


def key(name: str, **more: object) -> bytes:
    """A request with an API key that only Open WebUI knows."""
    return raw(head(more=[("X-Api-Key", f"sk-key-of-{name}")], **more))  # type: ignore[arg-type]  # the names are head's


def users(answers: list[Answer]) -> list[str | None]:
    return [answer.header("X-SK-User") for answer in answers]


def known(user_id: str) -> AuthenticatedUser:
    return AuthenticatedUser(user_id, NOW + 30)


async def test_an_answer_comes_when_the_lookup_ends() -> None:
    async with lookup_stage() as (on, provider):
        asking_ = asyncio.create_task(exchange(on.port, key("alice")))
        await provider.until_requested(1)
        assert (await ask(on.port, user=None)).status == 200  # other requests do not wait
        await provider.answer("sk-key-of-alice", known("alice"))
        (answer,) = await asking_
        assert answer.tags == ("skai", "alice", "pro", "images")
        assert on.count("skai", "pro", "allowed") == 1


async def test_a_looked_up_credential_that_is_rejected_is_refused() -> None:
    async with lookup_stage() as (on, provider):
        await provider.answer(
            "sk-key-of-x", RejectedCredential("unknown_key", "this key is unknown or was revoked", "x-api-key")
        )
        (answer,) = await exchange(on.port, key("x", uri="/pro"))
        assert (answer.status, answer.json["message"]) == (401, "this key is unknown or was revoked")


@pytest.mark.parametrize("first_waits", [True, False])
async def test_answers_stay_in_order(first_waits: bool) -> None:
    """Pipelined: the lookup of the last request ends first."""
    people = ["one", None, "two", "alice", "three", None]
    requests = [raw(head(user=user)) if user is None else key(user) for user in people]
    if not first_waits:
        people, requests = [None, *people], [raw(head()), *requests]
    async with lookup_stage() as (on, provider):
        asking_ = asyncio.create_task(exchange(on.port, b"".join(requests), answers=len(requests)))
        await provider.until_requested(4)
        for name in ("three", "alice", "two", "one"):
            assert not asking_.done()
            await provider.answer(f"sk-key-of-{name}", known(name))
            await asyncio.sleep(0)
        assert users(await asking_) == people


async def test_answers_are_written_up_to_the_first_that_waits() -> None:
    async with lookup_stage() as (on, provider):
        reader, writer = await asyncio.open_connection("127.0.0.1", on.port)
        writer.write(raw(head()) + key("one") + raw(head()) + key("two") + raw(head()))
        async with asyncio.timeout(5):
            assert b"X-SK-Tier: free" in await reader.readuntil(b"\r\n\r\n")
            await provider.answer("sk-key-of-one", known("one"))
            assert b"X-SK-User: one" in await reader.readuntil(b"\r\n\r\n")
            assert b"X-SK-User" not in await reader.readuntil(b"\r\n\r\n")
            await provider.answer("sk-key-of-two", known("two"))
            assert b"X-SK-User: two" in await reader.readuntil(b"\r\n\r\n")
            assert b"X-SK-User" not in await reader.readuntil(b"\r\n\r\n")
        writer.close()


async def test_a_peer_that_waits_is_not_read() -> None:
    async with patient_lookups(), lookup_stage() as (on, provider):
        reader, writer = await asyncio.open_connection("127.0.0.1", on.port)
        writer.write(key("one"))
        await provider.until_requested(1)
        for _ in range(50):
            writer.write(key("two"))
            await asyncio.sleep(0.001)
        assert provider.requests == [b"sk-key-of-one"]
        await provider.answer("sk-key-of-two", known("two"))
        await provider.answer("sk-key-of-one", known("one"))
        async with asyncio.timeout(5):
            for name in (b"one", *[b"two"] * 50):
                assert b"X-SK-User: " + name in await reader.readuntil(b"\r\n\r\n")
        writer.close()


async def test_what_ends_the_connection_comes_after_what_waits() -> None:
    """A request with Connection: close, garbage, a truncated request and a stream; each behind one that waits."""
    async with lookup_stage() as (on, provider):
        close = raw(head(more=[("Connection", "close")]))
        for number, (behind, statuses) in enumerate(
            [(close, [200, 200]), (b"GARBAGE\r\n\r\n", [200, 400]), (close + raw(head()), [200, 200])]
        ):
            name = f"user{number}"
            asking_ = asyncio.create_task(exchange(on.port, key(name) + behind, until_closed=True))
            await provider.until_requested(number + 1)
            await provider.answer(f"sk-key-of-{name}", known(name))
            answers = await asking_
            assert [answer.status for answer in answers] == statuses, behind
            assert users(answers)[0] == name
            assert answers[-1].header("Connection") == "close"
        closed = raw(head(more=[("Connection", "close"), ("X-Api-Key", "sk-key-of-user0")]))
        (answer,) = await exchange(on.port, closed, until_closed=True)
        assert (answer.header("X-SK-User"), answer.header("Connection")) == ("user0", "close")


async def test_only_the_last_answer_says_that_it_is_the_last() -> None:
    async with lookup_stage() as (on, provider):
        last = raw(head(more=[("X-Api-Key", "sk-key-of-two"), ("Connection", "close")]))
        asking_ = asyncio.create_task(exchange(on.port, key("one") + last, until_closed=True))
        await provider.until_requested(2)
        await provider.answer("sk-key-of-one", known("one"))
        await asyncio.sleep(0.01)
        await provider.answer("sk-key-of-two", known("two"))
        answers = await asking_
        assert users(answers) == ["one", "two"]
        assert [answer.header("Connection") for answer in answers] == [None, "close"]


async def test_a_stream_behind_one_that_waits_begins_after_it() -> None:
    async with lookup_stage(tick_seconds=0.05) as (on, provider):
        reader, writer = await asyncio.open_connection("127.0.0.1", on.port)
        writer.write(key("one") + raw(head(), "/gate/changes") + raw(head()))
        await provider.until_requested(1)
        await provider.answer("sk-key-of-one", known("one"))
        async with asyncio.timeout(5):
            assert b"X-SK-User: one" in await reader.readuntil(b"\r\n\r\n")
            assert b"jsonl" in await reader.readuntil(b"\r\n\r\n")
            assert b"epoch" in await reader.readuntil(b"}\n")
            assert b'"own":1}' in await reader.readuntil(b"}\n")
        writer.close()


async def test_a_head_that_waited_has_no_body() -> None:
    async with lookup_stage() as (on, provider):
        await provider.answer("sk-key-of-x", RejectedCredential("unknown_key", "unknown", "x-api-key"))
        reader, writer = await asyncio.open_connection("127.0.0.1", on.port)
        lines = head(uri="/pro", more=[("X-Api-Key", "sk-key-of-x"), ("Connection", "close")])
        writer.write(raw(lines, method="HEAD"))
        async with asyncio.timeout(5):
            whole = await reader.read()
        assert whole.startswith(b"HTTP/1.1 401 ")
        assert whole.endswith(b"\r\n\r\n")
        writer.close()


async def test_no_request_waits_longer_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert credential_lookups.LOOKUP_TIMEOUT_SECONDS == 1.0
    monkeypatch.setattr("gateway.gate.forward_auth.LOOKUP_TIMEOUT_SECONDS", 0.05)
    async with lookup_stage() as (on, provider):
        started = asyncio.get_running_loop().time()
        answers = await exchange(on.port, key("one") + key("two") + key("three"), answers=3)
        assert asyncio.get_running_loop().time() - started < 0.9
        assert [(answer.status, answer.header("Retry-After")) for answer in answers] == [(503, "1")] * 3
        assert [answer.json["error"] for answer in answers] == ["identity_unavailable"] * 3
        assert on.count("skai", "", "identity_unavailable") == 3
        assert provider.cancelled == []
        await provider.answer("sk-key-of-one", known("one"))
        assert users(await exchange(on.port, key("one"))) == ["one"]


async def test_a_provider_that_cannot_be_reached_is_503_at_once() -> None:
    async with lookup_stage() as (on, provider):
        await provider.answer("sk-key-of-one", UpstreamFailed("no answer"))
        (answer,) = await exchange(on.port, key("one"))
        assert (answer.status, answer.header("Retry-After")) == (503, "1")
    async with stage(INTROSPECTED) as on:  # without a resolver
        (answer,) = await exchange(on.port, key("one"))
        assert (answer.status, answer.header("Retry-After")) == (503, "1")


async def test_pending_lookups_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credential_lookups, "_MAX_PENDING_LOOKUPS", 3)
    async with lookup_stage() as (on, provider):
        waiting = [asyncio.create_task(exchange(on.port, key(f"u{number}"))) for number in range(3)]
        await provider.until_requested(3)
        (answer,) = await exchange(on.port, key("one-too-many"))
        assert (answer.status, answer.header("Retry-After")) == (503, "1")
        for number in range(3):
            await provider.answer(f"sk-key-of-u{number}", known(f"u{number}"))
        assert [users(await each) for each in waiting] == [["u0"], ["u1"], ["u2"]]
        assert len(provider.requests) == 3


async def test_a_peer_that_disconnects_does_not_cancel_a_shared_lookup() -> None:
    async with lookup_stage() as (on, provider):
        for abort in (False, True):
            _, writer = await asyncio.open_connection("127.0.0.1", on.port)
            writer.write(key("gone"))
            await provider.until_requested(len(provider.requests) + 1)
            if abort:
                writer.transport.abort()
            else:
                writer.close()
            await asyncio.sleep(0.01)
        assert provider.cancelled == []
        await provider.answer("sk-key-of-gone", known("gone"))
        assert users(await exchange(on.port, key("gone"))) == ["gone"]
        assert on.gate.registry.counter("skpay_gate_failures_total", "").of().value == 0


async def test_an_internal_error_of_a_lookup_is_answered_and_ends_the_connection() -> None:
    async with lookup_stage() as (on, provider):
        await provider.answer("sk-key-of-one", RuntimeError("a bug"))
        (answer,) = await exchange(on.port, key("one"), until_closed=True)
        assert (answer.status, answer.header("Connection")) == (500, "close")
        assert on.gate.registry.counter("skpay_gate_failures_total", "").of().value == 1
        assert (await ask(on.port)).status == 200


async def test_closing_lets_what_waits_finish() -> None:
    async with lookup_stage() as (on, provider):
        asking_ = asyncio.create_task(exchange(on.port, key("one"), until_closed=True))
        await provider.until_requested(1)
        closing = asyncio.create_task(on.listener.close(5))
        await asyncio.sleep(0.01)
        assert not asking_.done()
        await provider.answer("sk-key-of-one", known("one"))
        (answer,) = await asking_
        assert (answer.header("X-SK-User"), answer.header("Connection")) == ("one", "close")
        await closing


async def test_a_connection_that_waits_is_not_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.gate.listener.IDLE_SECONDS", 2)
    monkeypatch.setattr("gateway.gate.listener.HEAD_SECONDS", 2)
    async with lookup_stage(tick_seconds=0.01) as (on, provider):
        asking_ = asyncio.create_task(exchange(on.port, key("one") + raw(head())[:40], answers=1))
        await provider.until_requested(1)
        await asyncio.sleep(0.1)
        await provider.answer("sk-key-of-one", known("one"))
        assert users(await asking_) == ["one"]


async def test_a_reload_meanwhile_decides_by_the_new_rules_and_never_by_the_old() -> None:
    """An answer by the old rules would have the new change number."""
    async with lookup_stage() as (on, provider):
        asking_ = asyncio.create_task(exchange(on.port, key("bob", uri="/new")))
        await provider.until_requested(1)
        stricter = with_app(identity=INTROSPECTED.identity, routes=(Route("/new", min_tier="pro"),))
        on.gate.install({"skai": app_access(stricter, SECRETS, USER_KEYS)}, SIGNER)
        await provider.answer("sk-key-of-bob", known("bob"))
        (answer,) = await asking_
        assert answer.status == 402
        gone = asyncio.create_task(exchange(on.port, key("carol")))
        await provider.until_requested(3)
        on.gate.install({}, SIGNER)
        await provider.answer("sk-key-of-carol", known("carol"))
        assert (await gone)[0].status == 404


async def test_a_known_user_is_answered_without_a_task() -> None:
    """A request without a lookup costs no task."""
    async with stage(APP) as on:
        answer = on.gate.answer(b"GET", b"/gate?app=skai", _headers("alice"))
        assert isinstance(answer, bytes)


def _headers(user: str) -> dict[bytes, bytes]:
    return {name.title().encode(): value.encode() for name, value in head(user=user)}


@pytest.mark.parametrize(
    "test",
    [
        test_answers_are_written_up_to_the_first_that_waits,
        test_a_peer_that_waits_is_not_read,
        test_what_ends_the_connection_comes_after_what_waits,
        test_a_stream_behind_one_that_waits_begins_after_it,
        test_a_peer_that_disconnects_does_not_cancel_a_shared_lookup,
        test_closing_lets_what_waits_finish,
    ],
)
def test_it_is_the_same_on_uvloop(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """uvloop pauses, resumes and closes differently, and production uses it."""
    uvloop.run(test())
