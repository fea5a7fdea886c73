"""Notices that are not accepted: alerts, giving up after three days, and replays."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from notify_stage import every, give, notified_app, notify_at, only, send, take_back
from servers.harness import DAY, Harness
from servers.webhook_receiver import Receiver

from gateway.store import notices


@pytest.fixture
async def app(harness: Harness) -> AsyncIterator[Receiver]:
    async with notified_app(harness) as found:
        yield found


async def test_one_alert_for_an_app_that_does_not_take_them_until_it_takes_all(harness: Harness, app: Receiver) -> None:
    await give(harness, user_id="u1")
    await give(harness, user_id="u2")
    for attempt in range(5):
        assert await harness.alerts() == set(), attempt
        app.answer_next(500, times=2)
        assert await send(harness) == 2
        harness.move(600)
    assert await harness.alerts() == {("notice_failing", "skai")}
    app.answer_next(204)
    app.answer_next(500)
    await send(harness)
    assert await harness.alerts() == {("notice_failing", "skai")}
    harness.move(600)
    assert await send(harness) == 1
    assert await harness.alerts() == set()


async def test_a_replay_that_is_taken_closes_the_alert_of_the_app(harness: Harness, app: Receiver) -> None:
    await give(harness)
    app.answer_next(500, times=5)
    for _ in range(5):
        await send(harness)
        harness.move(600)
    notice = await only(harness)
    await harness.store.write(lambda conn: notices.replay(conn, notice.change_id, harness.billing.work.now()))
    await send(harness)
    assert await harness.alerts() == set()


async def test_after_three_days_it_is_given_up_and_the_next_one_goes_out(harness: Harness, app: Receiver) -> None:
    await give(harness)
    await take_back(harness)
    first, second = await every(harness)
    app.answer_next(500, times=6)
    for _ in range(5):
        await send(harness)
        harness.move(600)
    harness.move(3 * DAY - 3000 - 1)
    await send(harness)
    assert [each.state for each in await every(harness)] == ["waiting", "waiting"]
    app.answer_next(500)
    harness.move(601)
    await send(harness)
    assert [each.state for each in await every(harness)] == ["dead", "waiting"]
    assert await harness.alerts() == {("notice_dead", "skai/u1")}
    assert set(app.ids) == {first.change_id}
    await send(harness)
    assert app.ids[-1] == second.change_id
    assert await harness.alerts() == set()


async def test_a_notice_answered_with_410_is_not_retried(harness: Harness, app: Receiver) -> None:
    await give(harness)
    app.answer_next(410)
    await send(harness)
    harness.move(DAY)
    assert await send(harness) == 0
    assert (await only(harness)).state == "dead"
    assert await harness.alerts() == {("notice_dead", "skai/u1")}


async def test_a_replay_goes_out_under_the_same_id_with_the_same_text(harness: Harness, app: Receiver) -> None:
    await give(harness)
    app.answer_next(410)
    await send(harness)
    change_id = (await only(harness)).change_id
    for _ in range(2):
        await harness.store.write(lambda conn: notices.replay(conn, change_id, harness.billing.work.now()))
        assert await send(harness) == 1
    assert app.ids == [change_id] * 3
    assert len({each.body for each in app.received}) == 1
    assert await harness.alerts() == set()


async def test_a_replay_of_an_earlier_one_does_not_hide_that_a_later_one_died(harness: Harness, app: Receiver) -> None:
    await give(harness)
    await send(harness)
    await take_back(harness)
    app.answer_next(410)
    await send(harness)
    first, _ = await every(harness)
    await harness.store.write(lambda conn: notices.replay(conn, first.change_id, harness.billing.work.now()))
    await send(harness)
    assert await harness.alerts() == {("notice_dead", "skai/u1")}


async def test_an_app_that_wants_no_notices_any_more_raises_no_alert(harness: Harness, app: Receiver) -> None:
    await give(harness)
    await notify_at(harness, None)
    await send(harness)
    notice = await only(harness)
    assert (notice.state, notice.error) == ("dead", "apps.json no longer has notify for this app")
    assert (app.received, await harness.alerts()) == ([], set())
