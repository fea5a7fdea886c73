"""Calls to Stripe: what is sent, what is retried, and what each bad answer means."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.errors import UpstreamFailed
from gateway.settings import Secret
from gateway.stripe.errors import StripeError
from gateway.stripe.transport import Transport

Answer = tuple[int, Any, dict[str, str]]
ERROR = {"error": {"code": "some_code", "message": "some message", "param": "some_param", "type": "api_error"}}


@dataclass
class Script:
    """A Stripe with scripted answers, the last one repeated; `asked` are the requests."""

    answers: list[Answer] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, str], str]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append((request.method, request.raw_path, dict(request.headers), await request.text()))
        status, body, headers = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return web.Response(status=status, body=raw, headers=headers)

    def says(self, *answers: tuple[Any, ...]) -> None:
        self.answers = [(each[0], each[1], each[2] if len(each) > 2 else {}) for each in answers]

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


@dataclass
class Client:
    stripe: Transport
    script: Script
    session: aiohttp.ClientSession
    url: str


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    script = Script()
    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", script.handle)
    async with TestServer(application) as server, aiohttp.ClientSession() as session:
        url = str(server.make_url("")).rstrip("/")
        stripe = Transport(session, (Secret("sk_test_new"), Secret("sk_test_old")), api_base=url, sleep=script.sleep)
        yield Client(stripe, script, session, url)


async def test_what_is_sent(client: Client) -> None:
    client.script.says((200, {"id": "cus_1"}))
    await client.stripe.post("/v1/customers", {"a": {"b": [True, None, "x y"]}}, idempotency_key="key")
    await client.stripe.get("/v1/prices", {"lookup_keys": ["a&b"], "active": True})
    [(_, _, post, body), (_, path, get, _)] = client.script.requests
    assert body == "a%5Bb%5D%5B0%5D=true&a%5Bb%5D%5B2%5D=x%20y"
    assert path == "/v1/prices?lookup_keys%5B0%5D=a%26b&active=true"
    assert (post["Authorization"], post["Stripe-Version"]) == ("Bearer sk_test_new", "2026-10-28.endive")
    assert (post["Idempotency-Key"], post["Content-Type"]) == ("key", "application/x-www-form-urlencoded")
    assert "Idempotency-Key" not in get


async def test_a_post_without_a_key_gets_one_that_its_retries_keep(client: Client) -> None:
    client.script.says((500, ERROR), (500, ERROR), (200, {}), (200, {}))
    await client.stripe.post("/v1/x", {})
    await client.stripe.post("/v1/x", {})
    keys = [headers["Idempotency-Key"] for _, _, headers, _ in client.script.requests]
    assert keys[0] == keys[1] == keys[2] != keys[3]


SHOULD, SHOULD_NOT = {"Stripe-Should-Retry": "true"}, {"Stripe-Should-Retry": "false"}
REPLAYED = {"Idempotent-Replayed": "true"}


@pytest.mark.parametrize(
    ("status", "headers", "tries", "later"),
    [
        (400, {}, 1, False),
        (400, SHOULD, 3, False),
        (402, {}, 1, False),
        (403, {}, 1, False),
        (404, {}, 1, False),
        (408, {}, 1, True),
        (422, {}, 1, False),
        (425, {}, 1, True),
        (409, {}, 3, True),
        (409, SHOULD_NOT, 1, True),
        (429, {}, 3, True),
        (429, SHOULD_NOT, 1, True),
        (500, {}, 3, True),
        (500, SHOULD_NOT, 1, True),
        (500, REPLAYED, 1, True),
        (500, {**REPLAYED, **SHOULD}, 3, True),
        (503, {}, 3, True),
    ],
)
async def test_what_is_retried_at_once_and_what_is_retryable_later(
    client: Client, status: int, headers: dict[str, str], tries: int, later: bool
) -> None:
    client.script.says((status, ERROR, {"Request-Id": "req_1", **headers}))
    with pytest.raises(StripeError) as failed:
        await client.stripe.post("/v1/x", {})
    assert (len(client.script.requests), failed.value.retryable) == (tries, later)
    assert (failed.value.status, failed.value.stripe_code, failed.value.param) == (status, "some_code", "some_param")
    assert failed.value.replayed is (headers.get("Idempotent-Replayed") == "true")
    assert failed.value.code == ("upstream_failed" if later else "stripe_refused")
    assert "req_1" in failed.value.detail
    assert "some message" not in failed.value.message
    assert all(0.25 <= seconds <= 5 for seconds in client.script.waits)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"\xff", b"[" * 100_000, b'{"a":' * 100_000, b"{" + b"1" * 10, b"9" * 5000],
    ids=["empty", "html", "not UTF-8", "nested", "nested objects", "cut off", "a huge number"],
)
@pytest.mark.parametrize("status", [200, 502])
async def test_an_answer_that_is_no_json_may_be_better_later(client: Client, status: int, body: bytes) -> None:
    client.script.says((status, body))
    with pytest.raises(UpstreamFailed) as failed:
        await client.stripe.get("/v1/x")
    assert failed.value.retryable


@pytest.mark.parametrize("body", [None, [], "text", 5, {"error": {}}, {"error": "text"}, {"error": {"code": ["x"]}}])
async def test_a_200_that_is_no_object_is_an_error(client: Client, body: Any) -> None:
    client.script.says((200, body))
    with pytest.raises(StripeError):
        await client.stripe.get("/v1/x")


async def test_a_redirect_is_never_followed_with_our_key(client: Client) -> None:
    client.script.says((302, b"", {"Location": f"{client.url}/v1/elsewhere"}))
    with pytest.raises(UpstreamFailed):
        await client.stripe.get("/v1/x")
    assert {path for _, path, _, _ in client.script.requests} == {"/v1/x"}


async def test_the_older_key_is_used_only_where_the_newer_is_unknown(client: Client) -> None:
    client.script.says((401, ERROR), (200, {"id": "x"}))
    assert await client.stripe.get("/v1/x") == {"id": "x"}
    assert [headers["Authorization"] for _, _, headers, _ in client.script.requests] == [
        "Bearer sk_test_new",
        "Bearer sk_test_old",
    ]
    client.script.requests.clear()
    client.script.says((401, ERROR))
    with pytest.raises(StripeError) as failed:
        await client.stripe.get("/v1/x")
    assert (len(client.script.requests), failed.value.status, failed.value.retryable) == (2, 401, False)


async def test_a_list_is_read_to_its_end(client: Client) -> None:
    client.script.says(
        (200, {"data": [{"id": "a"}, {"id": "b"}], "has_more": True}),
        (200, {"data": [{"id": "c"}], "has_more": False}),
    )
    assert [each["id"] async for each in client.stripe.list_all("/v1/x", {"status": "all"})] == ["a", "b", "c"]
    assert [path for _, path, _, _ in client.script.requests] == [
        "/v1/x?status=all&limit=100",
        "/v1/x?status=all&limit=100&starting_after=b",
    ]


@pytest.mark.parametrize(
    "page",
    [
        {},
        {"data": None},
        {"data": {"id": "a"}},
        {"data": ["a"]},
        {"data": [{"id": "a"}], "has_more": True},
        {"data": [{}], "has_more": True},
        {"data": [{"id": 5}], "has_more": True},
    ],
    ids=["nothing", "null", "an object", "texts", "the same for ever", "no id", "a number"],
)
async def test_a_list_that_is_none_or_has_no_end_is_given_up(client: Client, page: dict[str, Any]) -> None:
    client.script.says((200, page))
    with pytest.raises(UpstreamFailed):
        [each async for each in client.stripe.list_all("/v1/x")]
    assert len(client.script.requests) <= 3


async def test_a_stripe_that_is_not_there_may_be_later(client: Client) -> None:
    stripe = Transport(client.session, (Secret("sk_test_x"),), api_base="http://127.0.0.1:1", sleep=client.script.sleep)
    with pytest.raises(UpstreamFailed) as failed:
        await stripe.get("/v1/x")
    assert (failed.value.retryable, len(client.script.waits)) == (True, 2)


async def test_a_slow_stripe_is_not_waited_for_for_ever(client: Client) -> None:
    client.script.says((200, {}))
    stripe = Transport(
        client.session, (Secret("sk_test_x"),), api_base=client.url, attempts=1, timeout_seconds=0.000_001
    )
    with pytest.raises(UpstreamFailed) as failed:
        await stripe.get("/v1/x")
    assert failed.value.retryable


@pytest.mark.parametrize(("key", "live"), [("sk_live_1", True), ("rk_live_1", True), ("sk_test_1", False)])
async def test_the_mode_is_the_newest_keys(client: Client, key: str, live: bool) -> None:
    assert Transport(client.session, (Secret(key), Secret("sk_test_0")), api_base=client.url).livemode is live


async def test_what_is_replayed_to_a_retry_was_not_saved_before_the_call(client: Client) -> None:
    """The key of a call whose own first answer was an error is not known to be spent by an earlier one."""
    client.script.says((500, ERROR), (500, ERROR, REPLAYED))
    with pytest.raises(StripeError) as failed:
        await client.stripe.post("/v1/x", {})
    assert (len(client.script.requests), failed.value.replayed) == (2, False)
