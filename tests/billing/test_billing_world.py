"""The story of one buyer, told once through everything, in both of Stripe's shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from servers.world import World, opened_world

from gateway.billing.route_events import route_events


@pytest.mark.parametrize("shape", ["endive", "2024"])
async def test_a_purchase_reaches_status_gate_and_litellm(tmp_path: Path, shape: Any) -> None:
    async with opened_world(tmp_path, shape=shape) as world:
        await world.buy("u1", "pro")
        assert await world.tier("u1") == "free"
        await world.catch_up()
        assert await world.tier("u1") == "pro"
        assert world.told[-1] == ("skai", "u1", "pro")
        assert world.limits("u1") == {"budget_id": "skai.pro", "max_budget": 10, "rpm_limit": 60}
        assert await world.alerts() == set()


async def test_each_app_has_its_own_way_into_litellm(world: World) -> None:
    await world.subscribed("u1", "plus", app_id="studio")
    assert world.user_limits("u1") == {"max_budget": 20, "rpm_limit": 70}
    assert world.limits("u1") is None


async def test_what_was_acknowledged_is_finished_after_a_restart(world: World) -> None:
    await world.buy("u1")
    await world.deliver()
    await world.restart()
    await world.settle()
    assert await world.tier("u1") == "pro"
    assert world.limits("u1") == {"budget_id": "skai.pro", "max_budget": 10, "rpm_limit": 60}


async def test_a_crash_between_the_commit_and_litellm_still_provisions(world: World) -> None:
    await world.buy("u1")
    await world.deliver()
    await route_events(world.billing)
    await world.refresh()
    assert await world.tier("u1") == "pro"
    assert world.limits("u1") is None
    await world.restart()
    await world.settle()
    assert world.limits("u1") == {"budget_id": "skai.pro", "max_budget": 10, "rpm_limit": 60}
