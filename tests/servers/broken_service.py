"""The service with one guarantee broken, to prove that the crash test detects it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from gateway.billing.notify.notices import write_notice
from gateway.billing.refresh import refresh
from gateway.store import entitlements
from gateway.web import stripe_webhook

_under_way: set[asyncio.Task[Any]] = set()


def _later(work: Any) -> None:
    task = asyncio.create_task(work)
    _under_way.add(task)
    task.add_done_callback(_under_way.discard)


def answer_before_the_commit() -> None:
    """Stripe gets 200 before the event is on disk."""
    receive = stripe_webhook.receive

    async def hurried(*arguments: Any) -> bool:
        _later(receive(*arguments))
        return True

    stripe_webhook.receive = hurried


def notify_outside_the_transaction() -> None:
    """The entitlement is committed first, its provisioning job and notice in a later transaction."""
    publish, fetch = refresh._publish, refresh._fetch
    running: list[Any] = []

    async def fetch_and_remember(billing: Any, lease: Any) -> Any:
        running[:] = [billing]
        return await fetch(billing, lease)

    def save(tx: Any, _app: Any, lease: Any, _stored: Any, decided: Any) -> Any:
        return entitlements.save(tx.conn, lease.app_id, lease.user_id, decided, tx.now)

    def publish_later(book: Any, lease: Any, outcome: Any) -> None:
        (billing,) = running

        def job(tx: Any) -> None:
            tx.provision(lease.app_id, lease.user_id)
            if outcome.change is not None:
                write_notice(tx, billing.apps.app(lease.app_id), outcome.change)

        async def work() -> None:
            await billing.work.write(job)
            publish(book, lease, outcome)

        _later(work())

    refresh._save, refresh._publish, refresh._fetch = save, publish_later, fetch_and_remember


BREAKAGES: dict[str, Callable[[], None]] = {
    "answer before the commit": answer_before_the_commit,
    "notify outside the transaction": notify_outside_the_transaction,
}
