"""What can go wrong on the way: which failures are worth a retry, and that none of them shows a key."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from litellm_harness import MASTER_KEY, LiteLLMHarness
from servers.stopwatch import stopwatch

from gateway.catalog.model import Limits
from gateway.errors import UpstreamFailed
from gateway.litellm import LiteLLM, wire
from gateway.sandbox.litellm import Fault
from gateway.sandbox.litellm.rows import User
from gateway.settings import Secret

PRO = Limits(max_budget_usd=10, rpm_limit=60)
NO_KEY = "Authentication Error, Invalid proxy server token passed. Received API Key = sk-..., Unable to find token"


@pytest.mark.parametrize(
    ("status", "reason", "retryable"),
    [
        (400, "Invalid budget_duration '1 day'", False),
        (400, "Authentication Error, Can't reach database server at `db`:`5432`", True),
        (400, "An external connector failed", True),
        (400, "nope (no_db_connection)", True),
        (401, "Authentication Error, Can't reach database server", True),
        (401, NO_KEY, False),
        (403, "Can't reach database server", False),
        (404, "End User Id=c1 does not exist in database", False),
        (405, "Method Not Allowed", False),
        (408, "", True),
        (409, "already exists", False),
        (422, "Field required", False),
        (425, "", True),
        (429, "", True),
        (500, "", True),
        (502, "", True),
        (503, "no_db_connection", True),
        (504, "", True),
    ],
)
def test_what_is_worth_a_retry(status: int, reason: str, retryable: bool) -> None:
    assert wire.is_outage(status, reason) is retryable


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("rubbish", "LiteLLM's answer is not JSON."),
        ("truncated", "LiteLLM could not be reached."),
        ("huge", "LiteLLM's answer is larger than 1 MiB."),
        ("reset", "LiteLLM could not be reached."),
        ("lost", "LiteLLM could not be reached."),
        ("database", "LiteLLM answered 400 to /user/update."),
    ],
)
async def test_every_fault_is_retryable_and_heals(harness: LiteLLMHarness, kind: str, message: str) -> None:
    harness.sandbox.faults.add(Fault(kind, "/user/update"))
    with pytest.raises(UpstreamFailed) as caught:
        await harness.litellm.provision_internal_user("u1", PRO, previous_budget_duration=None)
    assert caught.value.message == message
    assert caught.value.retryable
    assert MASTER_KEY not in f"{caught.value!r}{caught.value.detail}{caught.value.__cause__!r}"
    assert (await harness.litellm.provision_internal_user("u1", PRO, previous_budget_duration=None)).matches


@pytest.mark.parametrize(
    ("status", "retryable"),
    [(400, False), (403, False), (409, False), (422, False), (429, True), (500, True), (503, True)],
)
async def test_a_refusal_carries_its_status(harness: LiteLLMHarness, status: int, retryable: bool) -> None:
    harness.sandbox.faults.add(Fault("status", "/user/update", status=status))
    with pytest.raises(UpstreamFailed) as caught:
        await harness.litellm.provision_internal_user("u1", PRO, previous_budget_duration=None)
    assert (caught.value.status, caught.value.retryable) == (status, retryable)


async def test_a_redirect_is_a_wrong_address_and_is_not_followed(
    aiohttp_server: Any, session: aiohttp.ClientSession
) -> None:
    """Another host must not get the key."""
    followed = []

    async def elsewhere(request: web.Request) -> web.Response:
        followed.append(request.path)
        if request.path != "/user/update":
            return web.json_response({"user_id": "u1", "data": {"user_id": "u1"}})
        return web.Response(status=307, headers={"Location": "/sign-in"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", elsewhere)
    server = await aiohttp_server(app)
    litellm = LiteLLM(session, str(server.make_url("/")), (Secret("sk-key-of-the-test"),))
    with pytest.raises(UpstreamFailed) as caught:
        await litellm.provision_internal_user("u1", PRO, previous_budget_duration="1d")
    assert (caught.value.status, caught.value.retryable) == (307, False)
    assert followed == ["/user/update"]


async def test_a_slow_litellm_times_out(harness: LiteLLMHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_TIMEOUT", aiohttp.ClientTimeout(total=0.2))
    harness.sandbox.faults.add(Fault("slow", "/v2/user/info", seconds=1.0))
    async with stopwatch() as watch:
        with pytest.raises(UpstreamFailed) as caught:
            await harness.litellm.provision_internal_user("u1", PRO, previous_budget_duration=None)
        assert caught.value.retryable
        assert watch.seconds < 0.9


async def test_a_refused_connection_is_retryable(session: aiohttp.ClientSession, unused_tcp_port: int) -> None:
    litellm = LiteLLM(session, f"http://127.0.0.1:{unused_tcp_port}", (Secret("sk-key-of-nobody"),))
    for call in (litellm.ping(), litellm.provision_customer("c1", "skai-pro", PRO)):
        with pytest.raises(UpstreamFailed) as caught:
            await call
        assert caught.value.retryable


async def test_an_answer_about_another_user_is_refused(
    harness: LiteLLMHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(User, "row", lambda self: {"user_id": "u2", "max_budget": 10.0})
    with pytest.raises(UpstreamFailed) as caught:
        await harness.litellm.provision_internal_user("u1", PRO, previous_budget_duration="1d")
    assert caught.value.retryable


async def test_while_a_key_is_rolled_the_old_one_serves(harness: LiteLLMHarness) -> None:
    litellm = harness.client("sk-new-not-yet-known", MASTER_KEY)
    assert (await litellm.provision_internal_user("u1", PRO, previous_budget_duration=None)).matches


async def test_enforcement_is_proved_with_whichever_key_litellm_knows(harness: LiteLLMHarness) -> None:
    keys = (Secret("sk-new-not-yet-known"), Secret(MASTER_KEY))
    proof = await harness.litellm.prove_enforcement("skai", "customer", keys, "X-OpenWebUI-User-Id")
    assert proof.state == "enforced", proof.detail


async def test_a_wrong_key_is_reported_without_the_key(harness: LiteLLMHarness) -> None:
    litellm = harness.client("sk-wrong-000111222")
    with pytest.raises(UpstreamFailed) as caught:
        await litellm.provision_internal_user("u1", PRO, previous_budget_duration="1d")
    shown = f"{caught.value!r} {caught.value.detail} {caught.value.fields}"
    assert (caught.value.status, caught.value.retryable) == (401, False)
    assert "sk-wrong" not in shown
    assert hashlib.sha256(b"sk-wrong-000111222").hexdigest() not in shown


async def test_an_outage_under_a_401_does_not_try_the_old_key(harness: LiteLLMHarness) -> None:
    """The key is fine; asking again with another would only double the load on a database that is down."""
    litellm = harness.client(MASTER_KEY, "sk-old")
    outage = Fault("status", "/user/update", times=2, status=401, message="Can't reach database server")
    harness.sandbox.faults.add(outage)
    with pytest.raises(UpstreamFailed):
        await litellm.provision_internal_user("u1", PRO, previous_budget_duration="1d")
    assert len(harness.requests("/user/update")) == 1


async def test_ping_needs_no_key_and_wants_the_database(harness: LiteLLMHarness) -> None:
    await harness.client("sk-wrong").ping()
    harness.sandbox.faults.add(Fault("status", "/health/readiness", status=503))
    with pytest.raises(UpstreamFailed) as caught:
        await harness.litellm.ping()
    assert caught.value.retryable


async def test_concurrent_writes_all_arrive(harness: LiteLLMHarness) -> None:
    done = await asyncio.gather(*(harness.litellm.provision_customer(f"c{n}", "skai-pro", PRO) for n in range(50)))
    assert all(one.matches for one in done)
    assert len(harness.sandbox.state.customers) == 50
    assert len(harness.sandbox.state.budgets) == 1
