"""Failures to order."""

from __future__ import annotations

import time

import aiohttp
import pytest
from stripe_stage import KEY, Box, Start, seed

HEADERS = {"Authorization": f"Bearer {KEY}"}


async def test_a_status_strikes_once_and_only_where_it_fits(box: Box) -> None:
    box.sandbox.fault("status", r"/v1/prices.*", "GET", status=429, should_retry=False, retry_after=3)
    assert (await box.call("GET", "/v1/customers"))[0] == 200
    async with box.http.get(f"{box.url}/v1/prices", headers=HEADERS) as response:
        assert response.status == 429
        assert response.headers["Stripe-Should-Retry"] == "false"
        assert response.headers["Retry-After"] == "3"
        assert (await response.json())["error"]["code"] == "rate_limit"
    assert (await box.call("GET", "/v1/prices"))[0] == 200


async def test_without_should_retry_there_is_no_such_header(box: Box) -> None:
    box.sandbox.fault("status", status=409)
    async with box.http.get(f"{box.url}/v1/prices", headers=HEADERS) as response:
        assert response.status == 409
        assert "Stripe-Should-Retry" not in response.headers
        assert (await response.json())["error"]["code"] == "lock_timeout"


@pytest.mark.parametrize(("effect", "customers"), [("reset", 0), ("lost_reply", 1), ("truncated", 1)])
async def test_broken_connections_and_what_was_done_by_then(box: Box, effect: str, customers: int) -> None:
    box.sandbox.fault(effect, "/v1/customers", "POST")  # type: ignore[arg-type]  # one of the effects
    with pytest.raises(aiohttp.ClientError):
        await box.customer(email="a@b.c")
    assert len((await box.ok("GET", "/v1/customers"))["data"]) == customers


async def test_rubbish_is_200_html(box: Box) -> None:
    box.sandbox.fault("rubbish", times=2)
    for _ in range(2):
        async with box.http.get(f"{box.url}/v1/prices", headers=HEADERS) as response:
            assert (response.status, response.content_type) == (200, "text/html")
    assert (await box.call("GET", "/v1/prices"))[0] == 200


async def test_slow_takes_its_time(box: Box) -> None:
    box.sandbox.fault("slow", seconds=0.15)
    begun = time.monotonic()
    assert (await box.call("GET", "/v1/prices"))[0] == 200
    assert time.monotonic() - begun >= 0.15


async def test_faults_strike_in_the_order_they_were_queued_and_can_be_cleared(box: Box) -> None:
    box.sandbox.fault("status", status=500)
    box.sandbox.fault("status", status=503)
    box.sandbox.fault("status", status=502)
    assert [(await box.call("GET", "/v1/prices"))[0] for _ in range(2)] == [500, 503]
    box.sandbox.faults.clear()
    assert (await box.call("GET", "/v1/prices"))[0] == 200


async def test_the_rate_limit_is_per_endpoint(start: Start) -> None:
    moment = [1_800_000_000.0]
    box = await start(rate_limit=3, now=lambda: moment[0])
    seed(box.sandbox)
    got = [(await box.call("GET", "/v1/prices"))[0] for _ in range(4)]
    assert got == [200, 200, 200, 429]
    assert (await box.call("GET", "/v1/customers"))[0] == 200
    moment[0] += 1.01
    assert (await box.call("GET", "/v1/prices"))[0] == 200


async def test_a_wrong_key_uses_up_no_fault(box: Box) -> None:
    box.sandbox.fault("status", status=500)
    async with box.http.get(f"{box.url}/v1/prices", headers={"Authorization": "Bearer sk_test_x"}) as response:
        assert response.status == 401
    assert (await box.call("GET", "/v1/prices"))[0] == 500
