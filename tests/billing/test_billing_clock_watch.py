"""A clock that is wrong, or set while the service runs, has no lasting effect."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from servers.harness import DAY, START, Harness

from gateway.billing.events.missed import CURSOR, OVERLAP_SECONDS, fill_inbox
from gateway.billing.reconcile.schedule import RECONCILED_AT, _next_pass_at, try_pass
from gateway.billing.refresh import grants
from gateway.billing.work.clock_watch import SETTLED_SECONDS, ClockWatch
from gateway.billing.work.rate_limiter import RateLimiter
from gateway.store import alerts, instance, refreshes

HOUR = 3600


@pytest.fixture(autouse=True)
def _at_once(harness: Harness) -> None:
    harness.billing.reconciling.pace = RateLimiter(1e9)


async def looking(harness: Harness) -> ClockWatch:
    watch = ClockWatch(harness.billing)
    await watch.check()
    return watch


async def graced(harness: Harness) -> int:
    """u1 has the tier in grace; when that ends."""
    subscription_id = await harness.subscribed("u1")
    harness.stripe.fail_next_renewal(subscription_id)
    await harness.catch_up()
    return int((await harness.status("u1"))["until"])


async def granted(harness: Harness) -> int:
    """u1 has the tier by a grant; when that ends."""
    catalog = harness.billing.apps.catalog
    await harness.billing.work.write(lambda tx: grants.give(tx, catalog, "skai", "u1", "pro", "-", START + DAY))
    await harness.settle()
    return START + DAY


@pytest.mark.parametrize("given", [graced, granted])
async def test_what_a_clock_ahead_has_cut_is_back_once_it_is_set_right(
    harness: Harness, given: Callable[[Harness], Awaitable[int]]
) -> None:
    ends_at = await given(harness)
    watch = await looking(harness)
    harness.move(ends_at - 5 - harness.clock.now)
    harness.clock.jump(10)
    await watch.check()
    await harness.settle()
    assert await harness.tier("u1") == "free"
    harness.clock.jump(-10)
    await watch.check()
    await harness.settle()
    assert await harness.tier("u1") == "pro"
    harness.move(7)
    await harness.settle()
    assert await harness.tier("u1") == "free"


async def test_what_a_clock_ahead_has_cut_is_back_after_a_restart_with_the_right_time(harness: Harness) -> None:
    ends_at = await graced(harness)
    harness.clock.jump(ends_at + HOUR - harness.clock.now)
    await harness.settle()
    assert await harness.tier("u1") == "free"
    harness.clock.jump(-harness.clock.jumped)
    await harness.restart()
    await looking(harness)
    await harness.settle()
    assert await harness.tier("u1") == "pro"


async def test_an_hour_back_during_a_backoff_does_not_lengthen_it(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1")
    watch = await looking(harness)
    harness.move(2 * HOUR)
    harness.stripe.cancel(subscription_id)
    fault = harness.stripe.fault("status", "/v1/subscriptions", status=500, times=10_000)
    await harness.deliver()
    for _ in range(4):
        await harness.settle()
        harness.move(8)
    await harness.settle()
    waits = await harness.query(lambda conn: refreshes.of_user(conn, "skai", "u1"))
    assert waits is not None
    assert waits.due_at is not None
    left = waits.due_at - harness.billing.work.now()
    assert left > 0
    fault.times = 0
    harness.clock.jump(-HOUR)
    await watch.check()
    shifted = await harness.query(lambda conn: refreshes.of_user(conn, "skai", "u1"))
    assert shifted is not None
    assert shifted.due_at == waits.due_at - HOUR
    harness.move(left)
    await harness.settle()
    assert await harness.tier("u1") == "free"


async def test_a_refresh_that_was_wanted_before_the_clock_went_back_is_done_at_once(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1")
    watch = await looking(harness)
    harness.stripe.cancel(subscription_id)
    await harness.want("u1")
    harness.clock.jump(-HOUR)
    await watch.check()
    await harness.settle()
    assert await harness.tier("u1") == "free"


async def test_a_backoff_that_was_written_by_a_clock_ahead_is_ended_at_the_next_start(harness: Harness) -> None:
    subscription_id = await harness.subscribed("u1")
    harness.clock.jump(9 * DAY)
    harness.stripe.fault("status", "/v1/subscriptions", status=500, times=3)
    await harness.want("u1")
    await harness.settle()
    harness.stripe.cancel(subscription_id)
    harness.stripe.faults.clear()
    harness.clock.jump(-9 * DAY)
    await harness.restart()
    await looking(harness)
    await harness.settle()
    assert await harness.tier("u1") == "free"


@pytest.mark.parametrize(("seconds", "message"), [(10, "10 s forward"), (-HOUR, "3600 s back")])
async def test_a_jump_is_alerted_until_the_clock_has_been_left_alone(
    harness: Harness, seconds: int, message: str
) -> None:
    await harness.subscribed("u1")
    watch = await looking(harness)
    harness.clock.jump(seconds)
    for _ in range(3):
        await watch.check()
    [alert] = [each for each in await harness.query(alerts.live) if each.kind == "clock_jumped"]
    assert (alert.count, message in alert.message) == (1, True)
    assert f"{abs(seconds)} s {'ahead of' if seconds > 0 else 'behind'} Stripe's now" in alert.message
    harness.move(SETTLED_SECONDS - 1)
    await watch.check()
    assert ("clock_jumped", "clock") in await harness.alerts()
    harness.move(1)
    await watch.check()
    assert ("clock_jumped", "clock") not in await harness.alerts()


async def test_time_that_passes_is_no_jump(harness: Harness) -> None:
    watch = await looking(harness)
    for seconds in (0.4, 1, 30 * DAY):
        harness.move(seconds)
        harness.clock.jump(1)
        await watch.check()
        harness.clock.jump(-1)
    assert await harness.alerts() == set()


async def test_a_clock_that_differs_from_stripes_is_alerted_until_it_does_not(harness: Harness) -> None:
    harness.clock.jump(9 * DAY)
    watch = await looking(harness)
    await harness.billing.stripe.transport.get("/v1/account")
    await watch.check()
    assert ("clock_wrong", "stripe") in await harness.alerts()
    harness.clock.jump(-9 * DAY)
    await watch.check()
    await harness.billing.stripe.transport.get("/v1/account")
    await watch.check()
    assert ("clock_wrong", "stripe") not in await harness.alerts()


async def test_cursors_never_pass_stripes_own_date(harness: Harness) -> None:
    await harness.subscribed("u1")
    harness.clock.jump(9 * DAY)
    await fill_inbox(harness.billing)
    assert await try_pass(harness.billing, 0)
    kept = [await harness.query(lambda conn, key=key: instance.get(conn, key)) for key in (CURSOR, RECONCILED_AT)]
    assert [int(each or 0) <= harness.clock.true() for each in kept] == [True, True]
    harness.clock.jump(-9 * DAY)
    harness.move(DAY / 2)
    harness.stripe.cancel(harness.stripe.state.all("subscription")[0]["id"])
    harness.events()
    assert (await fill_inbox(harness.billing)).new > 0
    assert await _next_pass_at(harness.billing.work, DAY) == START + DAY


async def test_cursors_that_an_older_version_wrote_ahead_of_time_hold_nothing_up(harness: Harness) -> None:
    await harness.subscribed("u1")
    ahead = str(START + 9 * DAY)
    for key in (CURSOR, RECONCILED_AT):
        await harness.store.write(lambda conn, key=key: instance.put(conn, key, ahead))
    assert await _next_pass_at(harness.billing.work) == 0
    assert (await fill_inbox(harness.billing)).listed > 0
    assert await harness.query(lambda conn: instance.get(conn, CURSOR)) == str(START)


@pytest.mark.parametrize("ahead", [9 * DAY, -9 * DAY])
async def test_the_first_fetch_of_missed_events_goes_by_stripes_time(harness: Harness, ahead: int) -> None:
    harness.clock.jump(ahead)
    await fill_inbox(harness.billing)
    request = harness.requests("GET", "/v1/events")[0]
    since = int(request.params["created"]["gte"])
    assert since == START - 3 * DAY - OVERLAP_SECONDS
