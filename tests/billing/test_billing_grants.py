"""Tiers granted by an operator: put into effect by a refresh, until revoked or expired."""

from __future__ import annotations

import pytest
from servers.harness import DAY, Harness

from gateway.billing.refresh.grants import give, take_back
from gateway.errors import InvalidInput, NotFound
from gateway.store import entitlements, refreshes


async def granted(
    harness: Harness, tier: str, until_at: int | None = None, user_id: str = "u1", app_id: str = "skai"
) -> None:
    await harness.billing.work.write(
        lambda tx: give(tx, harness.billing.apps.catalog, app_id, user_id, tier, "a friend", until_at)
    )


async def taken_back(harness: Harness, user_id: str = "u1") -> int:
    return await harness.billing.work.write(lambda tx: take_back(tx, "skai", user_id))


async def test_a_grant_gives_the_tier_everywhere_and_taking_it_back_ends_it(harness: Harness) -> None:
    await granted(harness, "pro")
    assert await harness.tier("u1") == "free"
    await harness.settle()
    status = await harness.status("u1")
    assert (status["tier"], status["source"], status["reason"], status["until"]) == ("pro", "grant", "grant", None)
    assert (status["stripe_customer_id"], status["stripe_subscription_id"]) == (None, None)
    assert harness.gate_updates == [("skai", "u1", "pro")]
    assert harness.limits("u1") == {"budget_id": "skai.pro", "max_budget": 10, "rpm_limit": 60}
    assert await taken_back(harness) == 1
    await harness.settle()
    assert await harness.tier("u1") == "free"
    assert harness.limits("u1") == {"budget_id": "skai.free", "max_budget": 1, "rpm_limit": 10}


async def test_an_internal_tier_can_only_be_given(harness: Harness) -> None:
    await granted(harness, "sovereign")
    await harness.settle()
    assert await harness.tier("u1") == "sovereign"
    assert harness.limits("u1") == {"budget_id": "skai.sovereign", "max_budget": None, "rpm_limit": None}


async def test_a_grant_ends_at_its_date_by_the_clock_alone(harness: Harness) -> None:
    until_at = harness.billing.work.now() + 3 * DAY
    await granted(harness, "pro", until_at)
    await harness.settle()
    assert (await harness.status("u1"))["then"] == [{"at": until_at, "tier": "free"}]
    harness.move(3 * DAY - 1)
    await harness.settle()
    assert await harness.tier("u1") == "pro"
    harness.move(2)
    await harness.settle()
    assert await harness.tier("u1") == "free"
    assert harness.gate_updates[-1] == ("skai", "u1", "free")


async def test_a_grant_that_ends_in_months_is_refreshed_meanwhile(harness: Harness) -> None:
    await granted(harness, "pro", harness.billing.work.now() + 365 * DAY)
    await harness.settle()
    pending = await harness.query(lambda conn: refreshes.of_user(conn, "skai", "u1"))
    assert pending is not None
    assert pending.due_at == harness.billing.work.now() + 30 * DAY


async def test_the_best_of_grant_and_subscription_counts(harness: Harness) -> None:
    await harness.subscribed("u1", "pro")
    await granted(harness, "enterprise", harness.billing.work.now() + DAY)
    await harness.settle()
    assert (await harness.status("u1"))["tier"] == "enterprise"
    assert (await harness.status("u1"))["then"] == [{"at": harness.billing.work.now() + DAY, "tier": "pro"}]
    assert await taken_back(harness) == 1
    await harness.settle()
    status = await harness.status("u1")
    assert (status["tier"], status["source"]) == ("pro", "subscription")


async def test_a_grant_below_the_paid_tier_changes_nothing(harness: Harness) -> None:
    await harness.subscribed("u1", "enterprise")
    await granted(harness, "free")
    await harness.settle()
    assert await harness.tier("u1") == "enterprise"


async def test_every_grant_is_taken_back_at_once(harness: Harness) -> None:
    await granted(harness, "pro")
    await granted(harness, "enterprise")
    await harness.settle()
    assert await harness.tier("u1") == "enterprise"
    assert await taken_back(harness) == 2
    await harness.settle()
    assert await harness.tier("u1") == "free"
    with pytest.raises(NotFound) as refused:
        await taken_back(harness)
    assert refused.value.code == "no_grant"


async def test_a_grant_of_one_app_is_none_of_the_other(harness: Harness) -> None:
    await granted(harness, "plus", app_id="studio")
    await harness.settle()
    assert (await harness.tier("u1", "studio"), await harness.tier("u1")) == ("plus", "free")


async def test_a_grant_holds_while_stripe_knows_no_such_user(harness: Harness) -> None:
    await granted(harness, "pro")
    await harness.settle()
    assert list(harness.stripe.api.log) == []


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
    harness: Harness,
    app_id: str,
    user_id: str,
    tier: str,
    reason: str,
    until_in: int | None,
    error: type[Exception],
    code: str,
) -> None:
    until_at = None if until_in is None else harness.billing.work.now() + until_in
    with pytest.raises(error) as refused:
        await harness.billing.work.write(
            lambda tx: give(tx, harness.billing.apps.catalog, app_id, user_id, tier, reason, until_at)
        )
    assert getattr(refused.value, "code", "") == code
    await harness.settle()
    assert await harness.query(entitlements.tiers_in_use) == {}
    assert await harness.query(refreshes.count_waiting) == 0
