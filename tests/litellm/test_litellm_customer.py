"""A customer's limits: the budget its tier shares, and the customer put on it."""

from __future__ import annotations

import pytest
from litellm_harness import LiteLLMHarness, Serve

from gateway.catalog.model import Limits
from gateway.errors import InvalidInput, UpstreamFailed
from gateway.sandbox.litellm import Fault

FREE = Limits(max_budget_usd=1, tpm_limit=100_000, rpm_limit=2, models=("gpt-small",))
PRO = Limits(max_budget_usd=10, tpm_limit=500_000, rpm_limit=60)


async def test_an_unknown_customer_is_created_on_a_new_budget(harness: LiteLLMHarness) -> None:
    done = await harness.litellm.provision_customer("c1", "skai-free", FREE)
    assert done.matches
    assert done.answer["budget_id"] == "skai-free"
    assert harness.sandbox.state.budgets["skai-free"].max_budget == 1
    assert harness.sandbox.state.customers["c1"].models == ["gpt-small"]


async def test_a_tier_change_takes_effect_with_the_next_call(harness: LiteLLMHarness) -> None:
    await harness.litellm.provision_customer("c1", "skai-free", FREE)
    assert [await harness.chat("c1") for _ in range(3)] == [200, 200, 429]
    assert await harness.chat("c1", "gpt-big") == 403
    await harness.litellm.provision_customer("c1", "skai-pro", PRO)
    assert await harness.chat("c1") == 200
    assert await harness.chat("c1", "gpt-big") == 200
    await harness.litellm.provision_customer("c1", "skai-free", FREE)
    assert await harness.chat("c1") == 429
    assert await harness.chat("c1", "gpt-big") == 403


async def test_writing_twice_writes_the_budget_once(harness: LiteLLMHarness) -> None:
    first = await harness.litellm.provision_customer("c1", "skai-pro", PRO)
    second = await harness.litellm.provision_customer("c1", "skai-pro", PRO)
    assert first.answer == second.answer
    assert (first.budget_changed, second.budget_changed) == (True, False)
    assert len(harness.requests("/budget/new")) == 1
    assert harness.requests("/budget/update") == []


async def test_a_customer_is_never_sent_a_limit_of_its_own(harness: LiteLLMHarness) -> None:
    for limits in (FREE, PRO, Limits()):
        await harness.litellm.provision_customer("c1", "skai-tier", limits)
    sent = harness.requests("/customer/update") + harness.requests("/customer/new")
    assert {name for body in sent for name in body} == {"user_id", "budget_id", "models"}


async def test_a_changed_tier_corrects_the_budget_and_reports_it(harness: LiteLLMHarness) -> None:
    await harness.litellm.provision_customer("c1", "skai-pro", PRO)
    await harness.litellm.provision_customer("c2", "skai-pro", PRO)
    assert await harness.chat("c1") == await harness.chat("c2") == 200
    done = await harness.litellm.provision_customer("c1", "skai-pro", Limits(max_budget_usd=10, rpm_limit=1))
    assert done.matches
    assert done.budget_changed
    assert harness.requests("/budget/update") == [{"budget_id": "skai-pro", "tpm_limit": None, "rpm_limit": 1}]
    assert await harness.chat("c1") == 429
    # c2 was not written to, so LiteLLM goes on with what it has in its cache, for a minute.
    assert await harness.chat("c2") == 200
    await harness.litellm.provision_customer("c2", "skai-pro", Limits(max_budget_usd=10, rpm_limit=1))
    assert await harness.chat("c2") == 429


async def test_a_budget_that_an_operator_changed_is_put_right(harness: LiteLLMHarness) -> None:
    await harness.litellm.provision_customer("c1", "skai-pro", PRO)
    await harness.post("/customer/update", {"user_id": "c1", "max_budget": 2.5})
    done = await harness.litellm.provision_customer("c1", "skai-pro", PRO)
    assert done.answer["budget"]["max_budget"] == 10  # type: ignore[index]  # a budget's row


async def test_a_budgets_unchanged_duration_is_not_sent(harness: LiteLLMHarness) -> None:
    await harness.litellm.provision_customer("c1", "skai-pro", PRO)
    await harness.litellm.provision_customer("c1", "skai-pro", FREE)
    assert all("budget_duration" not in body for body in harness.requests("/budget/update"))


async def test_a_late_reset_still_happens_when_the_budgets_duration_changes(harness: LiteLLMHarness) -> None:
    await harness.litellm.provision_customer("c1", "skai-pro", PRO)
    harness.sandbox.state.customers["c1"].spend = 50.0
    harness.sandbox.state.reset_job_at = harness.clock.now + 10**9  # the job is late
    harness.clock.now += 86400
    weekly = Limits(max_budget_usd=10, budget_duration="7d", tpm_limit=500_000, rpm_limit=60)
    assert (await harness.litellm.provision_customer("c1", "skai-pro", weekly)).matches
    harness.sandbox.state.run_reset_job()
    assert harness.sandbox.state.customers["c1"].spend == 0
    assert harness.sandbox.state.budgets["skai-pro"].budget_reset_at > harness.clock.now  # type: ignore[operator]  # is set


async def test_two_at_once_make_one_budget_and_one_customer(
    harness: LiteLLMHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other writer comes between our question and our write."""
    await harness.litellm.provision_customer("c1", "skai-pro", PRO)
    requested = type(harness.litellm)._budget

    async def requested_too_early(self: object, budget_id: str) -> object:
        monkeypatch.setattr(type(harness.litellm), "_budget", requested)
        return None

    monkeypatch.setattr(type(harness.litellm), "_budget", requested_too_early)
    done = await harness.litellm.provision_customer("c1", "skai-pro", PRO)
    assert done.matches
    assert len(harness.sandbox.state.budgets) == 1


async def test_a_customer_created_in_between_is_updated(harness: LiteLLMHarness) -> None:
    await harness.litellm.provision_customer("c1", "skai-free", FREE)
    harness.sandbox.faults.add(Fault("status", "/customer/update", status=404))
    done = await harness.litellm.provision_customer("c1", "skai-pro", PRO)
    assert done.matches
    assert harness.sandbox.state.customers["c1"].budget_id == "skai-pro"


async def test_a_refused_budget_is_reported(harness: LiteLLMHarness) -> None:
    with pytest.raises(UpstreamFailed) as caught:
        await harness.litellm.provision_customer("c1", "skai-pro", Limits(max_budget_usd=1, budget_duration="1 day"))
    assert (caught.value.status, caught.value.retryable) == (400, False)
    assert "Invalid budget_duration" in caught.value.detail


async def test_unlimited_customers_are_unlimited(serve: Serve) -> None:
    harness = await serve()
    await harness.litellm.provision_customer("c1", "skai-tier", FREE)
    done = await harness.litellm.provision_customer("c1", "skai-tier", Limits())
    assert done.matches
    assert [await harness.chat("c1", "gpt-big") for _ in range(5)] == [200] * 5


@pytest.mark.parametrize(("litellm_id", "budget_id"), [("default_user_id", "skai-pro"), ("c1", "litellm-proxy-budget")])
async def test_t2_reserved_ids_are_refused_before_any_call(
    harness: LiteLLMHarness, litellm_id: str, budget_id: str
) -> None:
    with pytest.raises(InvalidInput):
        await harness.litellm.provision_customer(litellm_id, budget_id, PRO)
    assert harness.sandbox.requests == []
