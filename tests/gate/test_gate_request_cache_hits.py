"""Requests that are answered from the request cache, which never differs from the full parser."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from access.access_samples import APP, NOW, SECRETS, session, token, with_app
from gate.gate_stage import GATE_SECRET, USER_KEYS, Stage, head, raw, read, stage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.access.app_access import app_access
from gateway.gate import request_cache

ALICE, BOB, NOBODY = (raw(head(user=user)) for user in ("alice", "bob", None))
API_KEY = ("X-Api-Key", session("alice").decode())
KEY = ("Authorization", "Bearer skp_alice")
TAGS = b"X-SK-App: skai\r\nX-SK-Tier: %s\r\nX-SK-Features: %s\r\n"


def known(on: Stage, data: bytes) -> bytes | None:
    """The cached answer to a request; None if it must be parsed."""
    return on.gate.request_cache.answer(data)


@pytest.mark.parametrize(
    ("data", "tags"),
    [
        (ALICE, TAGS % (b"pro", b"images") + b"X-SK-User: alice\r\n"),
        (BOB, TAGS % (b"free", b"") + b"X-SK-User: bob\r\n"),
        (NOBODY, TAGS % (b"free", b"")),
        (raw(head(more=[KEY])), TAGS % (b"pro", b"images") + b"X-SK-User: alice\r\n"),
        (raw(head(more=[API_KEY])), TAGS % (b"pro", b"images") + b"X-SK-User: alice\r\n"),
        (raw(head(user="alice", uri="/pro/x", method="POST")), TAGS % (b"pro", b"images") + b"X-SK-User: alice\r\n"),
        (raw(head(user="alice", method="PROPFIND")), TAGS % (b"pro", b"images") + b"X-SK-User: alice\r\n"),
    ],
)  # fmt: skip
async def test_a_repeated_request_is_answered_from_the_cache(data: bytes, tags: bytes) -> None:
    async with stage() as on:
        assert known(on, data) is None
        first = read(on, [data])
        assert first == b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + tags + b"\r\n"
        assert known(on, data) == first


async def test_the_assertion_is_the_one_that_is_being_served() -> None:
    async with stage(with_app(assertion=True)) as on:
        for data in (ALICE, BOB, NOBODY, raw(head(user="alice", uri="/pro/x"))):
            first = read(on, [data])
            assert b"\r\nX-SK-Assertion: ey" in first
            assert known(on, data) == first


async def test_only_the_path_differs_from_one_request_to_the_next() -> None:
    async with stage() as on:
        read(on, [ALICE, BOB])
        for uri in ("/a", "/static/app.js?v=1", "/video-not", "/a/b/c/?x=%2F&y=//"):
            assert known(on, raw(head(user="alice", uri=uri)))
            assert b"X-SK-User: bob" in (known(on, raw(head(user="bob", uri=uri))) or b"")
        assert known(on, raw(head(user="alice", uri="/pro/x")))
        # Refusals and ambiguous paths go to the full parser.
        for uri in (
            "/pro",
            "/PRO/x",
            "/upload/../pro",
            "/a//b",
            "/.skpayments/upgrade",
            "/%70ro",
            "/a;b",
            "/a\\b",
            "x",
        ):
            assert known(on, raw(head(user="bob", uri=uri))) is None
        for uri in ("/a b", "/a ", " /a", "/a\t", "/a\x00", "/\xe9", "/a?\x7f", "/a#b", ""):
            assert known(on, raw(head(user="alice", uri=uri))) is None


@pytest.mark.parametrize(
    "data",
    [
        raw(head(secret="wrong", user="alice")),
        raw(head(secret=None, user="alice", more=[("Authorization", f"Bearer {GATE_SECRET}")])),
        raw(head(host="other.example.com", user="alice")),
        raw(head(host="CHAT.example.com", user="alice"), "/gate?app=%73kai"),
        raw(head(user="alice"), "/metrics"),
        raw(head(user="alice"), method="HEAD"),
        raw(head(user="bob", uri="/pro")),
        raw(head(user="alice", uri="/a//b")),
        raw(head(method="OPTIONS", more=[("Origin", "https://a.example"), ("Access-Control-Request-Method", "PUT")])),
        raw(head(method="OPTIONS", user="alice")),
        raw(head(uri="/static/x", more=[("Cookie", "token=" + token({"id": "a", "exp": NOW - 99}).decode())])),
        raw(head(user="alice", more=[("Connection", "keep-alive")])),
        raw(head(user="alice", more=[("Connection", "close")])),
        raw(head(user="alice", more=[("Upgrade", "h2c")])),
        raw(head(user="alice", more=[("Content-Length", "0")])),
        raw(head(user="alice", more=[("X-Forwarded-Zone", "z")])),
        raw(head(user="alice", more=[("X-Forwarded-Port", "80")])),
        raw(head(user="alice", more=[("X-Forwarded-User", "z")])),
        raw(head(user="alice", more=[("x-sk-gate", "z")])),
        raw(sorted(head(user="alice"), reverse=True)),
        ALICE.replace(b"HTTP/1.1", b"HTTP/1.0"),
        b"\r\n\r\n" + ALICE,
        ALICE + BOB,
        ALICE + b"GET ",
        ALICE + b"\r\n",
    ],
)  # fmt: skip
async def test_which_requests_are_never_cached(data: bytes) -> None:
    async with stage() as on:
        assert read(on, [data, data])
        assert known(on, data) is None
        read(on, [ALICE])
        assert known(on, data) is None


async def test_long_requests_are_never_cached() -> None:
    async with stage() as on:
        long = raw(head(user="alice", more=[("Accept", "a" * 8000)]))
        read(on, [long])
        assert len(on.gate.request_cache) == 0
        read(on, [ALICE])
        endless = raw(head(user="alice", uri="/" + "a" * 70_000))
        assert known(on, endless) is None
        assert read(on, [endless]).startswith(b"HTTP/1.1 431 ")


async def test_a_request_in_pieces_is_not_cached() -> None:
    async with stage() as on:
        read(on, [ALICE[:400], ALICE[400:]])
        assert known(on, ALICE) is None


async def test_a_prefix_and_a_suffix_of_different_apps_never_match() -> None:
    """Every app has its own hosts and users."""
    async with stage(APP, with_app(app_id="blog", hosts=("blog.example.com",))) as on:
        blog = raw(head(user="bob", host="blog.example.com"), "/gate?app=blog")
        read(on, [ALICE])
        read(on, [blog])
        assert known(on, ALICE)
        assert known(on, blog)
        assert known(on, raw(head(user="alice", host="blog.example.com"))) is None
        assert known(on, raw(head(user="bob"), "/gate?app=blog")) is None


async def test_a_tier_change_applies_to_the_very_next_request() -> None:
    async with stage() as on:
        read(on, [ALICE])
        for tier, tags in (("free", (b"free", b"")), ("staff", (b"staff", b"images,video")), ("gone", (b"free", b""))):
            on.table.set("skai", "alice", tier)
            assert TAGS % tags in (known(on, ALICE) or b"")
        on.table.remove("skai", "alice")
        assert known(on, raw(head(user="alice", uri="/pro/x"))) is None
        on.table.replace("skai", [("alice", "pro", None)])
        assert TAGS % (b"pro", b"images") in (known(on, ALICE) or b"")
        on.table.replace("skai", [("alice", "staff", None)])
        assert TAGS % (b"staff", b"images,video") in (known(on, ALICE) or b"")
        on.table.drop("skai")
        assert TAGS % (b"free", b"") in (known(on, ALICE) or b"")


async def test_an_assertion_is_renewed_in_time_whatever_the_clock_does() -> None:
    async with stage(with_app(assertion=True)) as on:
        first = read(on, [ALICE])
        for later in (0, 29, 30):
            on.now = NOW + later
            assert known(on, ALICE) == first
        on.now = NOW + 31
        assert known(on, ALICE) == first  # after this one it is signed anew
        await asyncio.sleep(0)
        second = known(on, ALICE)
        assert second != first
        assert second == known(on, ALICE)
        on.now = NOW - 3600
        assert known(on, ALICE) not in (first, second)


async def test_a_user_who_is_not_in_the_table_is_reported_until_accepted() -> None:
    async with stage() as on:
        read(on, [BOB])
        await asyncio.sleep(0)
        on.gate.reset_first_seen("skai", "bob")
        assert known(on, BOB)
        await asyncio.sleep(0)
        assert on.received == [("skai", "bob")] * 2


async def test_a_credential_is_verified_anew_when_it_expires() -> None:
    async with stage() as on:
        short = raw(head(more=[("Cookie", "token=" + session("alice", NOW + 100).decode())]))
        read(on, [short])
        for later, holds in ((129, True), (131, False)):  # 30 s of skew
            on.now = NOW + later
            assert bool(known(on, short)) is holds
        assert b"X-SK-User" not in read(on, [short])
        read(on, [ALICE])  # valid for days, but cached for an hour at most
        on.now += 3600
        assert known(on, ALICE) is None


async def test_a_reload_forgets_everything() -> None:
    async with stage() as on:
        key = raw(head(more=[KEY]))
        read(on, [ALICE, key])
        on.gate.install({"skai": app_access(APP, SECRETS, USER_KEYS)})
        assert known(on, ALICE) is None
        read(on, [ALICE, key])
        assert known(on, key)
        on.gate.install({"skai": app_access(APP, SECRETS, {})})
        assert known(on, key) is None
        assert read(on, [key]).startswith(b"HTTP/1.1 401 ")


async def test_a_gate_that_stops_being_ready_clears_the_cache() -> None:
    async with stage() as on:
        read(on, [ALICE])
        on.gate.ready = False
        assert read(on, [ALICE]).startswith(b"HTTP/1.1 503 ")


async def test_cached_requests_are_counted_and_their_users_reported() -> None:
    async with stage(replace(APP, enforce=False)) as on:
        paid = raw(head(user="bob", uri="/pro"))
        read(on, [paid, paid, BOB, BOB, NOBODY, NOBODY, NOBODY])
        assert known(on, paid)
        assert on.count("skai", "free", "would_tier_required") == 3
        assert on.count("skai", "free", "allowed") == 2
        assert on.count("skai", "free", "anonymous") == 3
        assert sum(on.gate.registry.histogram("skpay_gate_seconds", "", [1]).of().counts) == 7
        await asyncio.sleep(0)
        assert on.received == [("skai", "bob")]
        on.gate.reset_first_seen("skai", "bob")
        read(on, [BOB])
        await asyncio.sleep(0)
        assert on.received == [("skai", "bob")] * 2


async def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_cache, "MAX_PREFIXES", 8)
    monkeypatch.setattr(request_cache, "MAX_SUFFIXES", 3)
    async with stage() as on:
        for number in range(100):
            data = raw(head(user=f"user-{number}", method=("GET", "POST", "PUT", "PATCH")[number % 4]))
            read(on, [data])
            assert known(on, data)
        assert len(on.gate.request_cache) <= 11


async def test_an_error_of_the_cache_is_logged_and_the_request_parsed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with stage() as on:
        monkeypatch.setattr(on.listener, "cached_answer", lambda data: 1 // 0)
        assert b"X-SK-User: alice" in read(on, [ALICE])
        assert on.listener.failed.value == 1
        assert "gate_request_failed" in caplog.text


CREDENTIALS = [
    [], [("Cookie", f"token={session('alice').decode()}")], [("Cookie", f"token={session('bob').decode()}")], [KEY],
    [KEY, ("Cookie", f"token={session('bob').decode()}")], [("Authorization", f"Bearer {GATE_SECRET}")],
    [("Cookie", "token=x")], [API_KEY],
]  # fmt: skip
ODD = [
    ("Connection", "close"), ("Content-Length", "0"), ("X-SK-GATE", GATE_SECRET), ("X-Forwarded-Host", "sk.test"),
    ("X-Forwarded-Uri", "/static"), ("X-Forwarded-Method", "PUT"), ("Cookie", "a=b"), ("X-Zone", "1"),
    ("Accept", "X-Forwarded-Host: chat.example.com"),
]  # fmt: skip
REQUESTS = st.builds(
    lambda credentials, odd, uri, method, secret, target: raw(
        head(uri=uri, method=method, secret=secret, more=[*credentials, *odd]), target
    ),
    st.sampled_from(CREDENTIALS),
    st.lists(st.sampled_from(ODD), max_size=1),
    st.sampled_from(["/", "/pro/x", "/static?a=b", "/a//b", "/.skpayments/upgrade", None]),
    st.sampled_from(["GET", "GET", "POST", "OPTIONS", "TRACE", None]),
    st.sampled_from([GATE_SECRET, GATE_SECRET, "wrong", None]),
    st.sampled_from(["/gate?app=skai", "/gate?app=skai", "/gate?app=blog"]),
)
CUTS = [
    b"",
    b"\r",
    b"\n",
    b"\r\n",
    b" ",
    b"\x00",
    b"\xa0",
    b"x",
    b"\r\n\r\n",
    b"\nX-Forwarded-Uri: ",
    b"\nX-Forwarded-Host: ",
]


@given(
    st.lists(st.tuples(REQUESTS, st.integers(0, 900), st.integers(0, 3), st.sampled_from(CUTS)), max_size=6), st.data()
)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=200)
def test_the_cache_answers_as_the_full_parser_does(
    damaged: list[tuple[bytes, int, int, bytes]], data: st.DataObject
) -> None:
    """Valid and damaged requests, in any order and combined of each other's parts, at a gate that uses the cache and at
    one that never does."""

    async def play() -> None:
        apps = APP, with_app(app_id="blog", hosts=("blog.example.com",))
        async with stage(*apps) as on, stage(*apps) as parsing:
            valid = [data for data, *_ in damaged]
            halves = [data.partition(b"\r\nX-Forwarded-Host") for data in valid]
            mixed = [a[0] + b[1] + b[2] for a, b in zip(halves, reversed(halves), strict=True)]
            broken = [data[:at] + more + data[at + gone :] for data, at, gone, more in damaged]
            for request in data.draw(st.permutations([*valid, *valid, *mixed, *broken])):
                assert read(on, [request]) == read(parsing, [request[:1], request[1:]])

    asyncio.run(play())
