"""An internal user's limits: upsert, lifting in every version, unchanged durations, the reset race."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from litellm_harness import LiteLLMHarness, Serve

from gateway.catalog.model import Limits
from gateway.errors import InvalidInput

FREE = Limits(max_budget_usd=1, tpm_limit=100_000, rpm_limit=10, models=("gpt-small",))
PRO = Limits(max_budget_usd=10, tpm_limit=500_000, rpm_limit=60)
SOVEREIGN = Limits()


async def test_an_unknown_user_is_created_with_all_limits(harness: LiteLLMHarness) -> None:
    done = await harness.litellm.provision_internal_user("u1", FREE, previous_budget_duration=None)
    assert done.matches
    assert done.answer["max_budget"] == 1
    assert done.answer["rpm_limit"] == 10
    assert done.answer["models"] == ["gpt-small"]
    assert done.answer["budget_reset_at"] == "2026-11-23T00:00:00Z"


async def test_all_models_are_requested_by_name_never_by_an_empty_list(harness: LiteLLMHarness) -> None:
    await harness.litellm.provision_internal_user("u1", FREE, previous_budget_duration=None)
    done = await harness.litellm.provision_internal_user("u1", PRO, previous_budget_duration="1d")
    assert done.answer["models"] == ["all-proxy-models"]
    assert [] not in [body.get("models") for body in harness.requests("/user/update")]


async def test_writing_twice_changes_nothing(harness: LiteLLMHarness) -> None:
    first = await harness.litellm.provision_internal_user("u1", PRO, previous_budget_duration=None)
    second = await harness.litellm.provision_internal_user("u1", PRO, previous_budget_duration=None)
    assert first == second


async def test_an_email_is_never_sent(harness: LiteLLMHarness) -> None:
    await harness.litellm.provision_internal_user("u1", PRO, previous_budget_duration=None, metadata={"tier": "pro"})
    assert all("user_email" not in body for body in harness.requests("/user/update"))


async def test_metadata_of_other_people_stays(harness: LiteLLMHarness) -> None:
    await harness.post("/user/update", {"user_id": "u1", "metadata": {"department": "ops", "tier": "free"}})
    await harness.litellm.provision_internal_user("u1", PRO, previous_budget_duration="1d", metadata={"tier": "pro"})
    assert harness.sandbox.state.users["u1"].metadata == {"department": "ops", "tier": "pro"}


@pytest.mark.parametrize("version", ["1.80.0", "1.88.0", "1.99.4", "1.103.0", "1.106.2", "1.109.1"])
async def test_limits_are_lifted_in_every_version_whatever_null_means_there(serve: Serve, version: str) -> None:
    harness = await serve(version=version)
    await harness.litellm.provision_internal_user("u1", FREE, previous_budget_duration=None)
    done = await harness.litellm.provision_internal_user("u1", SOVEREIGN, previous_budget_duration="1d")
    assert done.matches, done.differences
    row = harness.sandbox.state.users["u1"]
    assert row.max_budget is None or row.max_budget == 1e9
    assert row.rpm_limit is None or row.rpm_limit == 2**31 - 1
    assert row.tpm_limit is None or row.tpm_limit == 2**31 - 1
    second = await harness.litellm.provision_internal_user("u1", SOVEREIGN, previous_budget_duration="1d")
    assert second == done
    down = await harness.litellm.provision_internal_user("u1", FREE, previous_budget_duration="1d")
    assert down.matches
    assert row.rpm_limit == 10


async def test_an_unchanged_duration_is_not_sent(harness: LiteLLMHarness) -> None:
    await harness.litellm.provision_internal_user("u1", FREE, previous_budget_duration=None)
    await harness.litellm.provision_internal_user("u1", PRO, previous_budget_duration="1d")
    await harness.litellm.provision_internal_user("u1", FREE, previous_budget_duration=None)
    assert ["budget_duration" in body for body in harness.requests("/user/update")] == [True, False, False]


async def test_a_duration_that_only_we_believe_unchanged_is_sent_after_all(harness: LiteLLMHarness) -> None:
    done = await harness.litellm.provision_internal_user("u1", FREE, previous_budget_duration="1d")
    assert done.matches
    assert harness.sandbox.state.users["u1"].budget_duration == "1d"


async def test_a_late_reset_is_done_for_litellm_when_the_duration_changes(harness: LiteLLMHarness) -> None:
    await harness.litellm.provision_internal_user("u1", FREE, previous_budget_duration=None)
    await harness.post("/user/update", {"user_id": "u1", "spend": 5.0})
    harness.sandbox.state.reset_job_at = harness.clock.now + 10**9  # the job is late
    harness.clock.now += 86400
    weekly = Limits(max_budget_usd=10, budget_duration="7d")
    await harness.litellm.provision_internal_user("u1", weekly, previous_budget_duration="1d")
    assert harness.sandbox.state.users["u1"].spend == 0


async def test_a_late_reset_is_left_to_litellm_when_the_duration_stays(harness: LiteLLMHarness) -> None:
    await harness.litellm.provision_internal_user("u1", FREE, previous_budget_duration=None)
    await harness.post("/user/update", {"user_id": "u1", "spend": 5.0})
    harness.sandbox.state.reset_job_at = harness.clock.now + 10**9
    harness.clock.now += 86400
    await harness.litellm.provision_internal_user("u1", PRO, previous_budget_duration=None)
    harness.sandbox.state.run_reset_job()
    assert harness.sandbox.state.users["u1"].spend == 0


async def test_spend_of_a_running_period_is_kept(harness: LiteLLMHarness) -> None:
    await harness.litellm.provision_internal_user("u1", FREE, previous_budget_duration=None)
    await harness.post("/user/update", {"user_id": "u1", "spend": 0.5})
    await harness.litellm.provision_internal_user(
        "u1", Limits(max_budget_usd=10, budget_duration="7d"), previous_budget_duration="1d"
    )
    assert harness.sandbox.state.users["u1"].spend == 0.5


async def test_a_value_that_litellm_does_not_take_is_reported(
    harness: LiteLLMHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(harness.sandbox.state.version), "null_resets", lambda self, name: False)
    monkeypatch.setattr("gateway.sandbox.litellm.users._LIMITS", ("max_budget",))
    done = await harness.litellm.provision_internal_user("u1", PRO, previous_budget_duration=None)
    assert not done.matches
    assert done.differences == (
        "tpm_limit: expected 500000, LiteLLM has None",
        "rpm_limit: expected 60, LiteLLM has None",
    )


async def test_t2_a_reserved_id_is_refused_before_any_call(harness: LiteLLMHarness) -> None:
    with pytest.raises(InvalidInput):
        await harness.litellm.provision_internal_user("default_user_id", PRO, previous_budget_duration=None)
    assert harness.sandbox.requests == []


_PRINTABLE = st.characters(exclude_categories=("C", "Zl", "Zp", "Zs"), include_characters=" ")
_IDS = st.text(_PRINTABLE | st.sampled_from(" +%&#?/;="), min_size=1, max_size=40)


async def test_any_id_can_be_read_back_with_its_metadata(harness: LiteLLMHarness) -> None:
    """A law: whatever characters an id has, what was written to it is what is read back, by every question."""

    @settings(max_examples=40, deadline=None)
    @given(_IDS)
    @example("Ada Lovelace")
    @example("a+b c%20d")
    @example("x?user_id=y&end_user_id=z#w")
    def law(user_id: str) -> None:
        hypothesis_ids.append(user_id)

    hypothesis_ids: list[str] = []
    law()
    for user_id in dict.fromkeys(hypothesis_ids):
        if not user_id.strip():
            continue
        await harness.post("/user/update", {"user_id": user_id, "metadata": {"department": "ops"}})
        done = await harness.litellm.provision_internal_user(user_id, PRO, metadata={"tier": "pro"})
        assert done.matches, user_id
        assert harness.sandbox.state.users[user_id].metadata == {"department": "ops", "tier": "pro"}, user_id
        stored = await harness.litellm.compare_internal_user(user_id, PRO)
        assert stored is not None, user_id
        assert stored.differences == (), user_id
        await harness.litellm.provision_customer(user_id, "b", PRO)
        assert await harness.litellm.compare_customer(user_id, "b", PRO) is not None, user_id
