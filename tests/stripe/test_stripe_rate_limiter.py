"""Under Stripe's rate limits, and patient where they are met all the same."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from servers.running import running_application

from gateway.sandbox.stripe import StripeSandbox
from gateway.sandbox.stripe.api import ROUTES
from gateway.settings import Secret
from gateway.stripe.errors import StripeError
from gateway.stripe.rate_limiter import RateLimiter, endpoint
from gateway.stripe.transport import Transport

KEY = "sk_test_pacing_0f31"


class Clock:
    """Time that passes only during a sleep."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@dataclass
class StripeHarness:
    """A client of the sandbox with a clock of our own."""

    sandbox: StripeSandbox
    url: str
    http: aiohttp.ClientSession
    clock: Clock

    def client(self, **options: Any) -> Transport:
        with_rate_limiter = {
            "rate_limiter": RateLimiter(now=self.clock),
            "clock": self.clock,
            "sleep": self.clock.sleep,
            **options,
        }
        return Transport(self.http, (Secret(KEY),), api_base=self.url, **with_rate_limiter)

    def statuses(self) -> list[int | None]:
        return [request.status for request in self.sandbox.api.log]


@pytest.fixture
async def harness() -> AsyncIterator[StripeHarness]:
    clock = Clock()
    sandbox = StripeSandbox(secret_key=KEY, now=clock, rate_limit=25)
    async with TestServer(sandbox.application()) as server, aiohttp.ClientSession() as http:
        yield StripeHarness(sandbox, str(server.make_url("")).rstrip("/"), http, clock)


def test_no_second_ever_sees_more_than_stripe_allows() -> None:
    """Reserved in virtual time, for ten seconds of constant demand: any window of one second is checked."""
    clock = Clock()
    rate_limiter = RateLimiter(now=clock)
    at = [clock.now + rate_limiter.reserve("GET /v1/subscriptions") for _ in range(200)]
    assert at == sorted(at)
    assert max(sum(1 for each in at if start <= each < start + 1) for start in at) < 25
    assert [each - clock.now for each in at[:5]] == [0] * 5
    assert at[-1] - clock.now == pytest.approx((200 - 5) / 18)


def test_a_burst_is_allowed_again_after_a_pause_but_not_saved_up() -> None:
    clock = Clock()
    rate_limiter = RateLimiter(now=clock)
    for _ in range(30):
        rate_limiter.reserve("GET /v1/prices")
    clock.now += 3600
    assert [rate_limiter.reserve("GET /v1/prices") for _ in range(5)] == [0] * 5
    assert rate_limiter.reserve("GET /v1/prices") > 0


def test_endpoints_do_not_wait_for_each_other() -> None:
    rate_limiter = RateLimiter(now=Clock())
    for _ in range(30):
        rate_limiter.reserve("GET /v1/prices")
    assert rate_limiter.reserve("GET /v1/prices") > 1
    assert rate_limiter.reserve("POST /v1/prices") == 0


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/v1/subscriptions?customer=cus_1", "GET /v1/subscriptions"),
        ("GET", "/v1/subscriptions/sub_1", "GET /v1/subscriptions/{}"),
        ("POST", "/v1/checkout/sessions/cs_1/expire", "POST /v1/checkout/sessions/{}/expire"),
        ("GET", "/v1/prices/pro_month", "GET /v1/prices/{}"),
        ("GET", "/v1/radar/early_fraud_warnings/issfr_1", "GET /v1/radar/early_fraud_warnings/{}"),
    ],
)
def test_an_endpoint_is_the_path_without_its_ids(method: str, path: str, name: str) -> None:
    assert endpoint(method, path) == name


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_call_that_stripe_knows_is_one_endpoint_whatever_the_id(route: Any) -> None:
    """A word of a path that is taken for an id would count two endpoints as one; the other way round, none at all."""
    assert endpoint(route.method, route.path.replace("{}", "looks_like_a_word")) == f"{route.method} {route.path}"


async def test_a_hundred_calls_at_once_meet_no_limit(harness: StripeHarness) -> None:
    """The sandbox counts as Stripe does; the same calls without a rate_limiter are refused."""
    stripe = harness.client(attempts=1)
    for _ in range(100):
        await stripe.get("/v1/products")
    assert harness.statuses() == [200] * 100
    harness.sandbox.api.log.clear()
    harness.clock.now += 10
    unpaced = harness.client(attempts=1, rate_limiter=None)
    for _ in range(25):
        await unpaced.get("/v1/products")
    with pytest.raises(StripeError) as refused:
        await unpaced.get("/v1/products")
    assert (refused.value.status, refused.value.stripe_code) == (429, "rate_limit")


async def test_calls_in_real_time_and_in_parallel_meet_no_limit() -> None:
    sandbox = StripeSandbox(secret_key=KEY, rate_limit=25)
    async with TestServer(sandbox.application()) as server, aiohttp.ClientSession() as http:
        stripe = Transport(
            http, (Secret(KEY),), api_base=str(server.make_url("")).rstrip("/"), attempts=1, rate_limiter=RateLimiter()
        )
        await asyncio.gather(*(stripe.get("/v1/products") for _ in range(40)))
    assert [request.status for request in sandbox.api.log] == [200] * 40


@pytest.mark.parametrize("should_retry", [None, True])
@pytest.mark.parametrize(("status", "code"), [(429, "rate_limit"), (429, "lock_timeout"), (409, "lock_timeout")])
async def test_a_limit_or_a_lock_is_waited_out(
    harness: StripeHarness, status: int, code: str, should_retry: bool | None
) -> None:
    harness.sandbox.fault("status", status=status, code=code, should_retry=should_retry, times=2)
    assert (await harness.client().get("/v1/products"))["object"] == "list"
    assert harness.statuses() == [status, status, 200]
    assert sum(harness.clock.slept) >= 1


async def test_a_call_is_not_retried_where_stripe_forbids_it(harness: StripeHarness) -> None:
    harness.sandbox.fault("status", status=429, code="rate_limit", should_retry=False)
    with pytest.raises(StripeError) as refused:
        await harness.client().get("/v1/products")
    assert harness.statuses() == [429]
    assert refused.value.retryable  # later, by the caller


@pytest.mark.parametrize(("status", "code"), [(429, "rate_limit"), (429, "lock_timeout"), (503, "api_error")])
@pytest.mark.parametrize("paced", [True, False])
async def test_retry_after_is_kept(harness: StripeHarness, status: int, code: str, paced: bool) -> None:
    harness.sandbox.fault("status", status=status, code=code, retry_after=7)
    began = harness.clock.now
    await harness.client(**({} if paced else {"rate_limiter": None})).get("/v1/products")
    assert harness.clock.now - began >= 7
    assert harness.statuses() == [status, 200]


async def test_the_service_itself_keeps_to_it_and_watches_its_clock(tmp_path: Path) -> None:
    async with running_application(tmp_path) as running:
        stripe = running.application.parts.billing.stripe.transport
        assert isinstance(stripe._rate_limiter, RateLimiter)
        assert stripe._clock is running.application._clock


async def test_after_a_limit_the_others_of_that_endpoint_wait_too(harness: StripeHarness) -> None:
    harness.sandbox.fault("status", "/v1/products", status=429, code="rate_limit", retry_after=7, should_retry=False)
    stripe, began = harness.client(), harness.clock.now
    with pytest.raises(StripeError):
        await stripe.get("/v1/products")
    await stripe.get("/v1/prices")
    assert harness.clock.now == began
    await stripe.get("/v1/products")
    assert harness.clock.now - began == pytest.approx(7)


async def test_a_call_with_a_long_retry_after_fails_at_once(harness: StripeHarness) -> None:
    """The worker has a calendar of its own; a person must not wait for a minute."""
    harness.sandbox.fault("status", status=429, code="rate_limit", retry_after=60)
    with pytest.raises(StripeError) as refused:
        await harness.client().get("/v1/products")
    assert (refused.value.retry_after_seconds, refused.value.retryable) == (60, True)
    assert harness.clock.slept == []


@pytest.mark.parametrize("text", ["", "soon", "-1", "1.5", "٣", "Wed, 21 Oct 2026 07:28:00 GMT", "9" * 40])
async def test_a_retry_after_that_is_no_number_is_none(text: str) -> None:
    answers = [web.json_response({"error": {"code": "rate_limit"}}, status=429, headers={"Retry-After": text})]
    async with answering(lambda: answers.pop() if answers else web.json_response({"object": "list"})) as (http, url):
        clock = Clock()
        stripe = Transport(http, (Secret(KEY),), api_base=url, sleep=clock.sleep)
        assert await stripe.get("/v1/products") == {"object": "list"}
        assert sum(clock.slept) < 2


@pytest.mark.parametrize(("theirs", "ahead"), [(0, 0), (-3600, 3600), (90, -90)])
async def test_clock_skew_is_read_from_stripes_date_header(theirs: int, ahead: int) -> None:
    clock = Clock()
    date = formatdate(clock.now + theirs, usegmt=True)
    async with answering(lambda: web.json_response({"object": "list"}, headers={"Date": date})) as (http, url):
        stripe = Transport(http, (Secret(KEY),), api_base=url, clock=clock)
        assert stripe.clock_ahead_seconds is None
        await stripe.get("/v1/products")
        assert stripe.clock_ahead_seconds == ahead


async def test_the_sandbox_sends_its_own_date(harness: StripeHarness) -> None:
    harness.clock.now += 5
    stripe = harness.client(clock=lambda: harness.clock.now + 3600)
    await stripe.get("/v1/products")
    assert stripe.clock_ahead_seconds == 3600


@pytest.mark.parametrize("date", ["yesterday", "0", "Wed, 99 Oct 2026 07:28:00 GMT"])
async def test_a_date_that_cannot_be_read_teaches_nothing_and_breaks_nothing(date: str) -> None:
    async with answering(lambda: web.json_response({"object": "list"}, headers={"Date": date})) as (http, url):
        stripe = Transport(http, (Secret(KEY),), api_base=url)
        await stripe.get("/v1/products")
        assert stripe.clock_ahead_seconds is None


@contextlib.asynccontextmanager
async def answering(answer: Callable[[], web.Response]) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """A server that answers everything with what `answer` makes, and its URL."""

    async def handle(_: web.Request) -> web.Response:
        return answer()

    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", handle)
    async with TestServer(application) as server, aiohttp.ClientSession() as http:
        yield http, str(server.make_url("")).rstrip("/")
