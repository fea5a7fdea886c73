"""A clock that is wrong, or set while the service runs, has no lasting effect."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from servers.world import DAY, START, World

from gateway.billing import grants
from gateway.billing.clock_watch import SETTLED_SECONDS, ClockWatch
from gateway.billing.missed_events import CURSOR, OVERLAP_SECONDS, fill_inbox
from gateway.billing.pace import Pace
from gateway.billing.reconcile_job import RECONCILED_AT, _next_pass_at, try_pass
from gateway.store import alerts, instance, refreshes

HOUR = 3600


@pytest.fixture(autouse=True)
def _at_once(world: World) -> None:
    world.billing.reconciling.pace = Pace(1e9)


async def looking(world: World) -> ClockWatch:
    watch = ClockWatch(world.billing)
    await watch.look()
    return watch


async def graced(world: World) -> int:
    """u1 has the tier in grace; when that ends."""
    subscription_id = await world.subscribed("u1")
    world.stripe.fail_next_renewal(subscription_id)
    await world.catch_up()
    return int((await world.status("u1"))["until"])


async def granted(world: World) -> int:
    """u1 has the tier by a grant; when that ends."""
    catalog = world.billing.catalog
    await world.store.write(lambda conn: grants.give(conn, catalog, "skai", "u1", "pro", "-", START + DAY, START))
    await world.settle()
    return START + DAY


@pytest.mark.parametrize("given", [graced, granted])
async def test_what_a_clock_ahead_has_cut_is_back_once_it_is_set_right(
    world: World, given: Callable[[World], Awaitable[int]]
) -> None:
    ends_at = await given(world)
    watch = await looking(world)
    world.move(ends_at - 5 - world.clock.now)
    world.clock.jump(10)
    await watch.look()
    await world.settle()
    assert await world.tier("u1") == "free"
    world.clock.jump(-10)
    await watch.look()
    await world.settle()
    assert await world.tier("u1") == "pro"
    world.move(7)
    await world.settle()
    assert await world.tier("u1") == "free"


async def test_what_a_clock_ahead_has_cut_is_back_after_a_restart_with_the_right_time(world: World) -> None:
    ends_at = await graced(world)
    world.clock.jump(ends_at + HOUR - world.clock.now)
    await world.settle()
    assert await world.tier("u1") == "free"
    world.clock.jump(-world.clock.jumped)
    await world.restart()
    await looking(world)
    await world.settle()
    assert await world.tier("u1") == "pro"


async def test_an_hour_back_during_a_backoff_does_not_lengthen_it(world: World) -> None:
    subscription_id = await world.subscribed("u1")
    watch = await looking(world)
    world.move(2 * HOUR)
    world.stripe.cancel(subscription_id)
    fault = world.stripe.fault("status", "/v1/subscriptions", status=500, times=10_000)
    await world.deliver()
    for _ in range(4):
        await world.settle()
        world.move(8)
    await world.settle()
    waits = await world.query(lambda conn: refreshes.of_user(conn, "skai", "u1"))
    assert waits is not None
    assert waits.due_at is not None
    left = waits.due_at - world.billing.now()
    assert left > 0
    fault.times = 0
    world.clock.jump(-HOUR)
    await watch.look()
    shifted = await world.query(lambda conn: refreshes.of_user(conn, "skai", "u1"))
    assert shifted is not None
    assert shifted.due_at == waits.due_at - HOUR
    world.move(left)
    await world.settle()
    assert await world.tier("u1") == "free"


async def test_a_refresh_that_was_wanted_before_the_clock_went_back_is_done_at_once(world: World) -> None:
    subscription_id = await world.subscribed("u1")
    watch = await looking(world)
    world.stripe.cancel(subscription_id)
    await world.want("u1")
    world.clock.jump(-HOUR)
    await watch.look()
    await world.settle()
    assert await world.tier("u1") == "free"


async def test_a_backoff_that_was_written_by_a_clock_ahead_is_ended_at_the_next_start(world: World) -> None:
    subscription_id = await world.subscribed("u1")
    world.clock.jump(9 * DAY)
    world.stripe.fault("status", "/v1/subscriptions", status=500, times=3)
    await world.want("u1")
    await world.settle()
    world.stripe.cancel(subscription_id)
    world.stripe.faults.clear()
    world.clock.jump(-9 * DAY)
    await world.restart()
    await looking(world)
    await world.settle()
    assert await world.tier("u1") == "free"


@pytest.mark.parametrize(("seconds", "said"), [(10, "10 s forward"), (-HOUR, "3600 s back")])
async def test_a_jump_is_alerted_until_the_clock_has_been_left_alone(world: World, seconds: int, said: str) -> None:
    await world.subscribed("u1")
    watch = await looking(world)
    world.clock.jump(seconds)
    for _ in range(3):
        await watch.look()
    [alert] = [each for each in await world.query(alerts.live) if each.kind == "clock_jumped"]
    assert (alert.count, said in alert.message) == (1, True)
    assert f"{abs(seconds)} s {'ahead of' if seconds > 0 else 'behind'} Stripe's now" in alert.message
    world.move(SETTLED_SECONDS - 1)
    await watch.look()
    assert ("clock_jumped", "clock") in await world.alerts()
    world.move(1)
    await watch.look()
    assert ("clock_jumped", "clock") not in await world.alerts()


async def test_time_that_passes_is_no_jump(world: World) -> None:
    watch = await looking(world)
    for seconds in (0.4, 1, 30 * DAY):
        world.move(seconds)
        world.clock.jump(1)
        await watch.look()
        world.clock.jump(-1)
    assert await world.alerts() == set()


async def test_a_clock_that_differs_from_stripes_is_alerted_until_it_does_not(world: World) -> None:
    world.clock.jump(9 * DAY)
    watch = await looking(world)
    await world.billing.stripe.get("/v1/account")
    await watch.look()
    assert ("clock_wrong", "stripe") in await world.alerts()
    world.clock.jump(-9 * DAY)
    await watch.look()
    await world.billing.stripe.get("/v1/account")
    await watch.look()
    assert ("clock_wrong", "stripe") not in await world.alerts()


async def test_cursors_never_pass_stripes_own_date(world: World) -> None:
    await world.subscribed("u1")
    world.clock.jump(9 * DAY)
    await fill_inbox(world.billing)
    assert await try_pass(world.billing, 0)
    kept = [await world.query(lambda conn, key=key: instance.get(conn, key)) for key in (CURSOR, RECONCILED_AT)]
    assert [int(each or 0) <= world.clock.true() for each in kept] == [True, True]
    world.clock.jump(-9 * DAY)
    world.move(DAY / 2)
    world.stripe.cancel(world.stripe.world.all("subscription")[0]["id"])
    world.events()
    assert (await fill_inbox(world.billing)).new > 0
    assert await _next_pass_at(world.billing, DAY) == START + DAY


async def test_cursors_that_an_older_version_wrote_ahead_of_time_hold_nothing_up(world: World) -> None:
    await world.subscribed("u1")
    ahead = str(START + 9 * DAY)
    for key in (CURSOR, RECONCILED_AT):
        await world.store.write(lambda conn, key=key: instance.put(conn, key, ahead))
    assert await _next_pass_at(world.billing) == 0
    assert (await fill_inbox(world.billing)).listed > 0
    assert await world.query(lambda conn: instance.get(conn, CURSOR)) == str(START)


@pytest.mark.parametrize("ahead", [9 * DAY, -9 * DAY])
async def test_the_first_look_for_missed_events_goes_by_stripes_time(world: World, ahead: int) -> None:
    world.clock.jump(ahead)
    await fill_inbox(world.billing)
    seen = world.asked("GET", "/v1/events")[0]
    since = int(seen.params["created"]["gte"])
    assert since == START - 3 * DAY - OVERLAP_SECONDS
