"""T23: spend at LiteLLM under an unknown user id, or under none, is found and alerted."""

from typing import Any

import aiohttp
import pytest
from servers.harness import Harness

from gateway.billing.reconcile.reconcile import reconcile
from gateway.billing.reconcile.state import ReconcileOptions
from gateway.billing.work.rate_limiter import RateLimiter
from gateway.sandbox.litellm import Fault
from gateway.store import alerts


@pytest.fixture(autouse=True)
def _at_once(harness: Harness) -> None:
    harness.billing.reconciling.pace = RateLimiter(1e9)


async def _chat(harness: Harness, user_id: str) -> None:
    """A call with the shared key that names this customer."""
    headers = {"Authorization": f"Bearer {harness.litellm.state.master_key}"}
    body = {"model": "gpt-small", "user": user_id, "messages": [{"role": "user", "content": "hello"}]}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{harness.litellm_url}/v1/chat/completions", json=body, headers=headers) as answer,
    ):
        assert answer.status == 200, await answer.text()


async def _alerts(harness: Harness) -> list[Any]:
    return [each for each in await harness.store.read(alerts.live) if each.kind == "unknown_spender"]


async def test_t23_spend_of_an_unknown_id_is_alerted_once_and_resolved_when_gone(harness: Harness) -> None:
    await harness.subscribed("u1", "pro")
    await _chat(harness, "u1")
    assert (await reconcile(harness.billing, ReconcileOptions(apply=True))).unknown_spenders == []
    await _chat(harness, "made-up-to-have-no-limits")
    report = await reconcile(harness.billing, ReconcileOptions())
    assert report.unknown_spenders == ["made-up-to-have-no-limits"]
    assert await _alerts(harness) == []  # a dry run writes nothing
    await reconcile(harness.billing, ReconcileOptions(apply=True))
    (alert,) = await _alerts(harness)
    assert "'made-up-to-have-no-limits'" in alert.message
    del harness.litellm.state.customers["made-up-to-have-no-limits"]
    await reconcile(harness.billing, ReconcileOptions(apply=True))
    assert await _alerts(harness) == []


async def test_a_key_that_may_not_list_customers_is_a_problem_of_the_report_and_changes_nothing(
    harness: Harness,
) -> None:
    await harness.subscribed("u1", "pro")
    harness.litellm.faults.add(Fault("status", path="/customer/list", status=403, message="not allowed"))
    report = await reconcile(harness.billing, ReconcileOptions(apply=True))
    assert [problem.startswith("spend at LiteLLM could not be read") for problem in report.problems] == [True]
    assert report.unknown_spenders == []
