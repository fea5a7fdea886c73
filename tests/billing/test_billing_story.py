"""The story of one buyer through every part, in both of Stripe's shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from servers.harness import Harness, open_harness

from gateway.billing.events.route import route_events


@pytest.mark.parametrize("shape", ["endive", "2024"])
async def test_a_purchase_reaches_status_gate_and_litellm(tmp_path: Path, shape: Any) -> None:
    async with open_harness(tmp_path, shape=shape) as harness:
        await harness.buy("u1", "pro")
        assert await harness.tier("u1") == "free"
        await harness.catch_up()
        assert await harness.tier("u1") == "pro"
        assert harness.gate_updates[-1] == ("skai", "u1", "pro")
        assert harness.limits("u1") == {"budget_id": "skai.pro", "max_budget": 10, "rpm_limit": 60}
        assert await harness.alerts() == set()


async def test_each_app_has_its_own_way_into_litellm(harness: Harness) -> None:
    await harness.subscribed("u1", "plus", app_id="studio")
    assert harness.user_limits("u1") == {"max_budget": 20, "rpm_limit": 70}
    assert harness.limits("u1") is None


async def test_what_was_acknowledged_is_finished_after_a_restart(harness: Harness) -> None:
    await harness.buy("u1")
    await harness.deliver()
    await harness.restart()
    await harness.settle()
    assert await harness.tier("u1") == "pro"
    assert harness.limits("u1") == {"budget_id": "skai.pro", "max_budget": 10, "rpm_limit": 60}


async def test_a_crash_between_the_commit_and_litellm_still_provisions(harness: Harness) -> None:
    await harness.buy("u1")
    await harness.deliver()
    await route_events(harness.billing)
    await harness.refresh()
    assert await harness.tier("u1") == "pro"
    assert harness.limits("u1") is None
    await harness.restart()
    await harness.settle()
    assert harness.limits("u1") == {"budget_id": "skai.pro", "max_budget": 10, "rpm_limit": 60}
