"""Tiers that an operator gives: through the same refresh as all else, until taken back or over."""

from __future__ import annotations

import pytest
from servers.world import DAY, World

from gateway.billing.grants import give, take_back
from gateway.errors import InvalidInput, NotFound
from gateway.store import entitlements, refreshes


async def granted(
    world: World, tier: str, until_at: int | None = None, user_id: str = "u1", app_id: str = "skai"
) -> None:
    now = world.billing.now()
    await world.store.write(
        lambda conn: give(conn, world.billing.catalog, app_id, user_id, tier, "a friend", until_at, now)
    )


async def taken_back(world: World, user_id: str = "u1") -> int:
    return await world.store.write(lambda conn: take_back(conn, "skai", user_id, world.billing.now()))


async def test_a_grant_gives_the_tier_everywhere_and_taking_it_back_ends_it(world: World) -> None:
    await granted(world, "pro")
    assert await world.tier("u1") == "free"
    await world.settle()
    seen = await world.status("u1")
    assert (seen["tier"], seen["source"], seen["reason"], seen["until"]) == ("pro", "grant", "grant", None)
    assert (seen["stripe_customer_id"], seen["stripe_subscription_id"]) == (None, None)
    assert world.told == [("skai", "u1", "pro")]
    assert world.limits("u1") == {"budget_id": "skai.pro", "max_budget": 10, "rpm_limit": 60}
    assert await taken_back(world) == 1
    await world.settle()
    assert await world.tier("u1") == "free"
    assert world.limits("u1") == {"budget_id": "skai.free", "max_budget": 1, "rpm_limit": 10}


async def test_an_internal_tier_can_only_be_given(world: World) -> None:
    await granted(world, "sovereign")
    await world.settle()
    assert await world.tier("u1") == "sovereign"
    assert world.limits("u1") == {"budget_id": "skai.sovereign", "max_budget": None, "rpm_limit": None}


async def test_a_grant_ends_at_its_date_by_the_clock_alone(world: World) -> None:
    until_at = world.billing.now() + 3 * DAY
    await granted(world, "pro", until_at)
    await world.settle()
    assert (await world.status("u1"))["then"] == [{"at": until_at, "tier": "free"}]
    world.move(3 * DAY - 1)
    await world.settle()
    assert await world.tier("u1") == "pro"
    world.move(2)
    await world.settle()
    assert await world.tier("u1") == "free"
    assert world.told[-1] == ("skai", "u1", "free")


async def test_a_grant_far_away_is_looked_at_again_meanwhile(world: World) -> None:
    await granted(world, "pro", world.billing.now() + 365 * DAY)
    await world.settle()
    pending = await world.query(lambda conn: refreshes.of_user(conn, "skai", "u1"))
    assert pending is not None
    assert pending.due_at == world.billing.now() + 30 * DAY


async def test_the_best_of_grant_and_subscription_counts(world: World) -> None:
    await world.subscribed("u1", "pro")
    await granted(world, "enterprise", world.billing.now() + DAY)
    await world.settle()
    assert (await world.status("u1"))["tier"] == "enterprise"
    assert (await world.status("u1"))["then"] == [{"at": world.billing.now() + DAY, "tier": "pro"}]
    assert await taken_back(world) == 1
    await world.settle()
    seen = await world.status("u1")
    assert (seen["tier"], seen["source"]) == ("pro", "subscription")


async def test_a_grant_below_what_is_paid_lowers_nobody(world: World) -> None:
    await world.subscribed("u1", "enterprise")
    await granted(world, "free")
    await world.settle()
    assert await world.tier("u1") == "enterprise"


async def test_every_grant_is_taken_back_at_once(world: World) -> None:
    await granted(world, "pro")
    await granted(world, "enterprise")
    await world.settle()
    assert await world.tier("u1") == "enterprise"
    assert await taken_back(world) == 2
    await world.settle()
    assert await world.tier("u1") == "free"
    with pytest.raises(NotFound) as refused:
        await taken_back(world)
    assert refused.value.code == "no_grant"


async def test_a_grant_of_one_app_is_none_of_the_other(world: World) -> None:
    await granted(world, "plus", app_id="studio")
    await world.settle()
    assert (await world.tier("u1", "studio"), await world.tier("u1")) == ("plus", "free")


async def test_a_grant_holds_while_stripe_knows_no_such_user(world: World) -> None:
    await granted(world, "pro")
    await world.settle()
    assert list(world.stripe.api.log) == []


@pytest.mark.parametrize(
    ("app_id", "user_id", "tier", "reason", "until_in", "error", "code"),
    [
        ("nobody", "u1", "pro", "r", None, NotFound, "unknown_app"),
        ("skai", "u1", "plus", "r", None, NotFound, "unknown_tier"),
        ("skai", "", "pro", "r", None, InvalidInput, "invalid_user_id"),
        ("skai", "a\nb", "pro", "r", None, InvalidInput, "invalid_user_id"),
        ("skai", "u1", "pro", " ", None, InvalidInput, "reason_required"),
        ("skai", "u1", "pro", "r", 0, InvalidInput, "until_in_the_past"),
        ("skai", "u1", "pro", "r", -1, InvalidInput, "until_in_the_past"),
    ],
)
async def test_what_cannot_be_given_is_refused_and_leaves_nothing(
    world: World,
    app_id: str,
    user_id: str,
    tier: str,
    reason: str,
    until_in: int | None,
    error: type[Exception],
    code: str,
) -> None:
    now = world.billing.now()
    until_at = None if until_in is None else now + until_in
    with pytest.raises(error) as refused:
        await world.store.write(
            lambda conn: give(conn, world.billing.catalog, app_id, user_id, tier, reason, until_at, now)
        )
    assert getattr(refused.value, "code", "") == code
    await world.settle()
    assert await world.query(entitlements.tiers_in_use) == {}
    assert await world.query(refreshes.count_waiting) == 0
