"""The worker's part: many notices at once, few for each app, none twice at a time; a stop waits, but not for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from servers.harness import Harness, until
from servers.webhook_receiver import OLD_SECRET, SECRET, Receiver, receiver

from gateway.billing.notify.notices import write_notice
from gateway.billing.notify.sender import MAX_CONCURRENT, MAX_CONCURRENT_PER_APP, NoticeSender
from gateway.billing.work.transaction import Transaction
from gateway.billing.work.worker import Worker
from gateway.catalog.secret_ref import SecretRef
from gateway.settings import Secret
from gateway.store import entitlements, notices
from gateway.tiers.model import Entitlement, Reason


@pytest.fixture
async def apps(harness: Harness) -> AsyncIterator[tuple[Receiver, Receiver]]:
    """The backends of skai and studio."""
    async with receiver() as skai, receiver() as studio:

        def publish(document: dict[str, list[dict[str, object]]]) -> None:
            document["apps"][0]["notify"] = {"url": skai.url, "secret": "env:SKAI_HOOK"}
            document["apps"][1]["notify"] = {"url": studio.url, "secret": "env:STUDIO_HOOK"}

        await harness.edit(publish)
        harness.billing.apps.secrets = {
            SecretRef("env", "SKAI_HOOK"): (Secret(SECRET),),
            SecretRef("env", "STUDIO_HOOK"): (Secret(OLD_SECRET),),
        }
        yield skai, studio


async def _change(harness: Harness, app_id: str, tier: str, *user_ids: str) -> None:
    app = harness.billing.apps.app(app_id)

    def job(tx: Transaction) -> None:
        for user_id in user_ids:
            decided = Entitlement(tier=tier, reason=Reason.GRANT, source="grant")
            change = entitlements.save(tx.conn, app_id, user_id, decided, tx.now)
            assert change is not None
            write_notice(tx, app, change)

    await harness.billing.work.write(job)


async def _finish(sender: NoticeSender) -> None:
    sender.close()
    for task in sender.tasks:
        task.cancel()
    await asyncio.gather(*sender.tasks, return_exceptions=True)


async def test_an_app_that_hangs_keeps_no_other_waiting(harness: Harness, apps: tuple[Receiver, Receiver]) -> None:
    skai, studio = apps
    skai.hang_next(times=MAX_CONCURRENT * 2)
    await _change(harness, "skai", "pro", *(f"u{number}" for number in range(MAX_CONCURRENT * 2)))
    await _change(harness, "studio", "plus", "u1")
    sender = NoticeSender(harness.billing.work, harness.billing.apps)
    assert await sender.turn() == MAX_CONCURRENT_PER_APP + 1
    await until(
        lambda: len(studio.received) == 1 and len(skai.received) == MAX_CONCURRENT_PER_APP, "both have their notices"
    )
    assert await sender.turn() == 0
    assert studio.received[0].signed_with(OLD_SECRET)
    assert len(skai.received) == MAX_CONCURRENT_PER_APP
    await _finish(sender)


async def test_a_notice_that_is_being_sent_is_not_started_twice(
    harness: Harness, apps: tuple[Receiver, Receiver]
) -> None:
    skai, _ = apps
    skai.hang_next(times=3)
    await _change(harness, "skai", "pro", "u1", "u2")
    sender = NoticeSender(harness.billing.work, harness.billing.apps)
    assert [await sender.turn() for _ in range(3)] == [2, 0, 0]
    await until(lambda: len(skai.received) == 2, "both have their notices")
    assert len(set(skai.ids)) == 2
    await _finish(sender)


async def test_the_worker_sends_all_in_order_as_soon_as_it_is_written(
    harness: Harness, apps: tuple[Receiver, Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only being woken can make it so quick.
    monkeypatch.setattr("gateway.billing.work.worker.POLL_SECONDS", 60.0)
    skai, _ = apps
    worker = Worker(harness.billing)
    await worker.start()
    users = [f"u{number}" for number in range(40)]
    for tier in ("pro", "free", "enterprise"):
        await _change(harness, "skai", tier, *users)
    await until(lambda: len(skai.received) == 120, "every notice arrived")
    await worker.stop()
    for user_id in users:
        tiers = [each.data["to"] for each in skai.received if each.data["user_id"] == user_id]
        assert tiers == ["pro", "free", "enterprise"]
    assert len(set(skai.ids)) == 120
    assert await harness.query(notices.counts) == {"waiting": 0, "dead": 0}


async def test_a_stop_waits_for_an_answer_and_begins_nothing(harness: Harness, apps: tuple[Receiver, Receiver]) -> None:
    skai, _ = apps
    skai.hang_next()
    worker = Worker(harness.billing)
    await worker.start()
    await _change(harness, "skai", "pro", "u1")
    await until(lambda: len(skai.received) == 1, "the notice is under way")
    stopping = asyncio.create_task(worker.stop())
    await asyncio.sleep(0)
    await _change(harness, "skai", "pro", "u2")
    skai.closing.set()
    await stopping
    states = {each.user_id: each.state for each in await harness.query(lambda conn: notices.recent(conn, 10))}
    assert states == {"u1": "done", "u2": "waiting"}
    assert len(skai.received) == 1


async def test_a_closed_sender_begins_nothing(harness: Harness, apps: tuple[Receiver, Receiver]) -> None:
    await _change(harness, "skai", "pro", "u1")
    sender = NoticeSender(harness.billing.work, harness.billing.apps)
    sender.close()
    assert (await sender.turn(), sender.tasks) == (0, [])


async def test_a_stop_does_not_wait_for_ever(
    harness: Harness, apps: tuple[Receiver, Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.billing.work.worker.DRAIN_SECONDS", 0.05)
    skai, _ = apps
    skai.hang_next()
    worker = Worker(harness.billing)
    await worker.start()
    await _change(harness, "skai", "pro", "u1")
    await until(lambda: len(skai.received) == 1, "the notice is under way")
    began = time.monotonic()
    await worker.stop()
    assert time.monotonic() - began < 2
    [notice] = await harness.query(lambda conn: notices.recent(conn, 10))
    assert (notice.state, notice.attempts) == ("waiting", 0)


async def test_an_internal_error_is_logged_and_does_not_flood_the_app(
    harness: Harness, apps: tuple[Receiver, Receiver], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("cannot record")

    skai, _ = apps
    monkeypatch.setattr("gateway.billing.notify.notices._record", broken)
    await _change(harness, "skai", "pro", "u1")
    sender = NoticeSender(harness.billing.work, harness.billing.apps)
    assert await sender.turn() == 1
    await until(lambda: "worker_loop_failed" in caplog.text, "the internal error is logged")
    assert await sender.turn() == 0
    assert len(skai.received) == 1
    await _finish(sender)
