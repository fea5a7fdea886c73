"""T3: a first-seen user waits until LiteLLM has the limits, for less than a second."""

from __future__ import annotations

import asyncio
import time

import pytest
from access.access_samples import NOW
from gate.gate_stage import Stage, ask, exchange, head, raw, stage
from gate.test_gate_waiting import INTROSPECTED
from servers.stopwatch import stopwatch
from servers.traefik import until

from gateway.access.authentication import AuthenticatedUser, CredentialLookup
from gateway.gate import first_seen


@pytest.fixture
def on_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_seen, "MAX_WAIT_SECONDS", 30.0)


def provisioned_by(on: Stage) -> dict[str, asyncio.Future[None]]:
    """The futures that the gate waits for, by user; the test completes them."""
    pending: dict[str, asyncio.Future[None]] = {}

    def report(app_id: str, user_id: str) -> asyncio.Future[None]:
        return pending.setdefault(user_id, asyncio.get_running_loop().create_future())

    on.gate._first_seen._report = report
    return pending


async def until_waiting(on: Stage, *users: str) -> None:
    async def all_wait() -> bool:
        return {("skai", user) for user in users} <= set(on.gate._first_seen._waiting_users)

    await until(all_wait, f"{users} wait")


@pytest.mark.usefixtures("on_time")
async def test_the_first_requests_of_a_user_wait_until_the_limits_are_set() -> None:
    async with stage() as on:
        pending = provisioned_by(on)
        calls = [asyncio.create_task(ask(on.port, user="bob")) for _ in range(5)]
        await until_waiting(on, "bob")
        await asyncio.sleep(0.2)
        assert [call.done() for call in calls] == [False] * 5
        pending["bob"].set_result(None)
        assert {(await call).status for call in calls} == {200}
        assert list(pending) == ["bob"]
        assert (await ask(on.port, user="bob")).status == 200


@pytest.mark.usefixtures("on_time")
async def test_other_users_do_not_wait() -> None:
    async with stage() as on:
        pending = provisioned_by(on)
        pending_call = asyncio.create_task(ask(on.port, user="bob"))
        assert (await ask(on.port, user="alice")).status == 200
        assert (await ask(on.port)).status == 200
        assert not pending_call.done()
        pending["bob"].set_result(None)
        assert (await pending_call).status == 200


async def test_an_outage_of_litellm_delays_a_user_once_and_not_beyond_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(first_seen, "MAX_WAIT_SECONDS", 1.0)
    async with stage() as on:
        provisioned_by(on)
        started = time.monotonic()
        assert (await ask(on.port, user="bob")).status == 200
        assert time.monotonic() - started > 0.25
        async with stopwatch() as watch:
            assert (await ask(on.port, user="bob")).status == 200
            assert watch.seconds < 0.9


@pytest.mark.usefixtures("on_time")
async def test_beyond_the_bound_first_seen_users_pass_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_seen, "MAX_WAITING_REQUESTS", 3)
    async with stage() as on:
        pending = provisioned_by(on)
        pending_call = [asyncio.create_task(ask(on.port, user=f"u{number}")) for number in range(3)]
        await until_waiting(on, "u0", "u1", "u2")
        more = [await ask(on.port, user=f"v{number}") for number in range(20)]
        assert {answer.status for answer in more} == {200}
        assert [call.done() for call in pending_call] == [False] * 3
        for future in pending.values():
            future.set_result(None)
        assert {(await call).status for call in pending_call} == {200}
        assert on.gate._first_seen._waiting_users == {}


@pytest.mark.usefixtures("on_time")
async def test_a_cached_request_waits_like_any_other() -> None:
    async with stage() as on:
        assert (await ask(on.port, user="bob")).status == 200
        data = raw(head(user="bob"))
        assert on.gate.request_cache.answer(data) is not None
        pending = provisioned_by(on)
        on.gate.reset_first_seen("skai", "bob")
        assert on.gate.request_cache.answer(data) is None
        pending_call = asyncio.create_task(ask(on.port, user="bob"))
        await until_waiting(on, "bob")
        assert not pending_call.done()
        pending["bob"].set_result(None)
        assert (await pending_call).status == 200


@pytest.mark.usefixtures("on_time")
async def test_a_reload_while_a_user_waits_answers_by_the_new_apps() -> None:
    async with stage() as on:
        pending = provisioned_by(on)
        pending_call = asyncio.create_task(ask(on.port, user="bob"))
        await until_waiting(on, "bob")
        on.gate.install({})
        pending["bob"].set_result(None)
        assert (await pending_call).status == 404


@pytest.mark.usefixtures("on_time")
async def test_the_plugins_first_request_for_a_user_waits_as_well() -> None:
    async with stage() as on:
        pending = provisioned_by(on)
        plugin = [("X-Sk-Plugin", "1")]
        pending_call = asyncio.create_task(ask(on.port, user="bob", more=plugin))
        await until_waiting(on, "bob")
        assert not pending_call.done()
        pending["bob"].set_result(None)
        assert (await pending_call).status == 200


async def test_a_looked_up_user_is_answered_in_time_despite_litellm() -> None:
    async def resolve(app_id: str, requested: CredentialLookup) -> AuthenticatedUser:
        await asyncio.sleep(0.3)
        return AuthenticatedUser("bob", int(time.time()) + 3600)

    async with stage(INTROSPECTED, resolve=resolve) as on:
        provisioned_by(on)
        started = time.monotonic()
        answer = await ask(on.port, user="bob")
        assert (answer.status, answer.header("X-SK-User")) == (200, "bob")
        assert 0.7 < time.monotonic() - started < 3


@pytest.mark.usefixtures("on_time")
async def test_a_credential_that_is_revoked_while_its_request_waits_is_not_cached() -> None:
    async def resolve(app_id: str, lookup: CredentialLookup) -> AuthenticatedUser:
        return AuthenticatedUser("bob", int(NOW) + 30)

    async with stage(INTROSPECTED, resolve=resolve) as on:
        pending = provisioned_by(on)
        call = raw(head(more=[("X-Api-Key", "sk-key-of-bob")]))
        waiting = asyncio.create_task(exchange(on.port, call))
        async with asyncio.timeout(5):
            while "bob" not in pending:  # noqa: ASYNC110  # what the gate does, not an event of ours
                await asyncio.sleep(0.002)
        on.gate.credential_changed("skai", "bob")
        pending["bob"].set_result(None)
        await waiting
        assert on.gate.request_cache.answer(call) is None
        await exchange(on.port, call)
        assert on.gate.request_cache.answer(call) is not None
