"""Idempotency keys, as facts/stripe.md §1.5 has them."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from stripe_stage import DAY, KEY, Box, until


async def _create(box: Box, key: str, **form: str) -> tuple[int, dict[str, object], dict[str, str]]:
    headers = {"Authorization": f"Bearer {KEY}", "Idempotency-Key": key}
    async with box.http.post(f"{box.url}/v1/customers", data=form, headers=headers) as response:
        return response.status, await response.json(), dict(response.headers)


async def test_the_first_answer_is_replayed(box: Box) -> None:
    status, first, headers = await _create(box, "k1", email="a@b.c")
    assert status == 200
    assert "Idempotent-Replayed" not in headers
    status, second, replayed = await _create(box, "k1", email="a@b.c")
    assert (status, second) == (200, first)
    assert replayed["Idempotent-Replayed"] == "true"
    assert replayed["Original-Request"] == headers["Request-Id"] != replayed["Request-Id"]
    assert len((await box.ok("GET", "/v1/customers"))["data"]) == 1


async def test_other_parameters_under_a_key_are_an_idempotency_error(box: Box) -> None:
    await _create(box, "k1", email="a@b.c")
    status, answer, _ = await _create(box, "k1", email="other@b.c")
    assert (status, answer["error"]["type"]) == (400, "idempotency_error")  # type: ignore[index]  # JSON
    status, moved = await box.call("POST", "/v1/products", {"name": "P"}, Idempotency_Key="k1")
    assert (status, moved["error"]["type"]) == (400, "idempotency_error")
    assert "same endpoint" in moved["error"]["message"]


async def test_a_500_is_replayed_even_when_all_is_well_again(box: Box) -> None:
    box.sandbox.fault("status", "/v1/customers", status=500)
    for _ in range(3):
        status, answer, _ = await _create(box, "k1", email="a@b.c")
        assert (status, answer["error"]["type"]) == (500, "api_error")  # type: ignore[index]  # JSON
    status, _, _ = await _create(box, "k2", email="a@b.c")
    assert status == 200


async def test_a_validation_error_is_not_saved(box: Box) -> None:
    status, _, _ = await _create(box, "k1", surprise="x")
    assert status == 400
    status, _, _ = await _create(box, "k1", email="a@b.c")
    assert status == 200


async def test_a_rate_limit_is_not_saved(box: Box) -> None:
    box.sandbox.fault("status", status=429)
    status, _, _ = await _create(box, "k1", email="a@b.c")
    assert status == 429
    status, _, _ = await _create(box, "k1", email="a@b.c")
    assert status == 200


async def test_a_key_in_use_is_409(box: Box) -> None:
    box.sandbox.fault("slow", "/v1/customers", seconds=0.3)
    slow = asyncio.ensure_future(_create(box, "k1", email="a@b.c"))
    await until(lambda: not box.sandbox.faults.waiting, "the slow request has begun")
    await asyncio.sleep(0)
    status, answer, _ = await _create(box, "k1", email="a@b.c")
    assert (status, answer["error"]["code"]) == (409, "idempotency_key_in_use")  # type: ignore[index]  # JSON
    assert (await slow)[0] == 200
    status, _, headers = await _create(box, "k1", email="a@b.c")
    assert (status, headers["Idempotent-Replayed"]) == (200, "true")


async def test_a_reply_lost_after_the_commit_is_replayed_under_its_key(box: Box) -> None:
    box.sandbox.fault("lost_reply", "/v1/customers")
    with pytest.raises(aiohttp.ClientConnectionError):
        await _create(box, "k1", email="a@b.c")
    status, answer, headers = await _create(box, "k1", email="a@b.c")
    assert (status, headers["Idempotent-Replayed"]) == (200, "true")
    listed = await box.ok("GET", "/v1/customers")
    assert [customer["id"] for customer in listed["data"]] == [answer["id"]]


async def test_keys_are_forgotten_after_a_day_and_have_255_characters(box: Box) -> None:
    _, first, _ = await _create(box, "k1", email="a@b.c")
    box.sandbox.advance(DAY + 1)
    _, second, _ = await _create(box, "k1", email="a@b.c")
    assert first["id"] != second["id"]
    status, _, _ = await _create(box, "k" * 256, email="a@b.c")
    assert status == 400


async def test_a_business_refusal_is_saved_too(box: Box) -> None:
    """The session of a key that was refused stays refused under that key: attempts need keys of their own."""
    session = await box.checkout((await box.customer())["id"], "price_pro")
    await box.ok("POST", f"/v1/checkout/sessions/{session['id']}/expire")
    for _ in range(2):
        status, _ = await box.call("POST", f"/v1/checkout/sessions/{session['id']}/expire", Idempotency_Key="e1")
        assert status == 400
    assert box.sandbox.api.log[-1].replayed
