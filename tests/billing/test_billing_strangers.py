"""T23: spend at LiteLLM under a name that nobody here has, or under none, is found and alerted."""

from typing import Any

import aiohttp
import pytest
from servers.world import World

from gateway.billing.pace import Pace
from gateway.billing.reconcile import reconcile
from gateway.billing.reconciling import Asked
from gateway.sandbox.litellm import Fault
from gateway.store import alerts


@pytest.fixture(autouse=True)
def _at_once(world: World) -> None:
    world.billing.reconciling.pace = Pace(1e9)


async def _chat(world: World, user_id: str) -> None:
    """A call with the shared key that names this customer."""
    headers = {"Authorization": f"Bearer {world.litellm.state.master_key}"}
    body = {"model": "gpt-small", "user": user_id, "messages": [{"role": "user", "content": "hello"}]}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{world.litellm_url}/v1/chat/completions", json=body, headers=headers) as answer,
    ):
        assert answer.status == 200, await answer.text()


async def _alerts(world: World) -> list[Any]:
    return [each for each in await world.store.read(alerts.live) if each.kind == "unknown_spender"]


async def test_t23_spend_of_a_stranger_is_found_alerted_once_and_over_when_gone(world: World) -> None:
    await world.subscribed("u1", "pro")
    await _chat(world, "u1")
    assert (await reconcile(world.billing, Asked(apply=True))).strangers == []
    await _chat(world, "made-up-to-have-no-limits")
    report = await reconcile(world.billing, Asked())
    assert report.strangers == ["made-up-to-have-no-limits"]
    assert await _alerts(world) == []  # a dry run writes nothing
    await reconcile(world.billing, Asked(apply=True))
    (alert,) = await _alerts(world)
    assert "'made-up-to-have-no-limits'" in alert.message
    del world.litellm.state.customers["made-up-to-have-no-limits"]
    await reconcile(world.billing, Asked(apply=True))
    assert await _alerts(world) == []


async def test_a_key_that_may_not_list_customers_is_a_problem_of_the_report_and_changes_nothing(world: World) -> None:
    await world.subscribed("u1", "pro")
    world.litellm.faults.add(Fault("status", path="/customer/list", status=403, message="not allowed"))
    report = await reconcile(world.billing, Asked(apply=True))
    assert [problem.startswith("who spends at LiteLLM could not be asked") for problem in report.problems] == [True]
    assert report.strangers == []
