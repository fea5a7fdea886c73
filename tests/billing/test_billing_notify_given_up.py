"""Notices that are not taken: the alerts, giving up after three days, and sending again what was given up."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from notify_stage import every, give, only, send, take_back, told_app, told_at
from servers.webhook_receiver import Receiver
from servers.world import DAY, World

from gateway.store import notices


@pytest.fixture
async def app(world: World) -> AsyncIterator[Receiver]:
    async with told_app(world) as found:
        yield found


async def test_one_alert_for_an_app_that_does_not_take_them_until_it_takes_all(world: World, app: Receiver) -> None:
    await give(world, user_id="u1")
    await give(world, user_id="u2")
    for attempt in range(5):
        assert await world.alerts() == set(), attempt
        app.answer_next(500, times=2)
        assert await send(world) == 2
        world.move(600)
    assert await world.alerts() == {("notice_failing", "skai")}
    app.answer_next(204)
    app.answer_next(500)
    await send(world)
    assert await world.alerts() == {("notice_failing", "skai")}
    world.move(600)
    assert await send(world) == 1
    assert await world.alerts() == set()


async def test_a_replay_that_is_taken_closes_the_alert_of_the_app(world: World, app: Receiver) -> None:
    await give(world)
    app.answer_next(500, times=5)
    for _ in range(5):
        await send(world)
        world.move(600)
    notice = await only(world)
    await world.store.write(lambda conn: notices.replay(conn, notice.change_id, world.billing.now()))
    await send(world)
    assert await world.alerts() == set()


async def test_after_three_days_it_is_given_up_and_the_next_one_goes_out(world: World, app: Receiver) -> None:
    await give(world)
    await take_back(world)
    first, second = await every(world)
    app.answer_next(500, times=6)
    for _ in range(5):
        await send(world)
        world.move(600)
    world.move(3 * DAY - 3000 - 1)
    await send(world)
    assert [each.state for each in await every(world)] == ["waiting", "waiting"]
    app.answer_next(500)
    world.move(601)
    await send(world)
    assert [each.state for each in await every(world)] == ["dead", "waiting"]
    assert await world.alerts() == {("notice_dead", "skai/u1")}
    assert set(app.ids) == {first.change_id}
    await send(world)
    assert app.ids[-1] == second.change_id
    assert await world.alerts() == set()


async def test_an_app_that_answers_gone_is_not_asked_again(world: World, app: Receiver) -> None:
    await give(world)
    app.answer_next(410)
    await send(world)
    world.move(DAY)
    assert await send(world) == 0
    assert (await only(world)).state == "dead"
    assert await world.alerts() == {("notice_dead", "skai/u1")}


async def test_a_replay_goes_out_under_the_same_id_with_the_same_text(world: World, app: Receiver) -> None:
    await give(world)
    app.answer_next(410)
    await send(world)
    change_id = (await only(world)).change_id
    for _ in range(2):
        await world.store.write(lambda conn: notices.replay(conn, change_id, world.billing.now()))
        assert await send(world) == 1
    assert app.ids == [change_id] * 3
    assert len({each.body for each in app.seen}) == 1
    assert await world.alerts() == set()


async def test_a_replay_of_an_earlier_one_does_not_hide_that_a_later_one_died(world: World, app: Receiver) -> None:
    await give(world)
    await send(world)
    await take_back(world)
    app.answer_next(410)
    await send(world)
    first, _ = await every(world)
    await world.store.write(lambda conn: notices.replay(conn, first.change_id, world.billing.now()))
    await send(world)
    assert await world.alerts() == {("notice_dead", "skai/u1")}


async def test_an_app_that_wants_no_notices_any_more_raises_no_alert(world: World, app: Receiver) -> None:
    await give(world)
    await told_at(world, None)
    await send(world)
    notice = await only(world)
    assert (notice.state, notice.error) == ("dead", "apps.json has no notify for this app any more")
    assert (app.seen, await world.alerts()) == ([], set())
