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
    publish = refresh._publish

    def save(tx: Any, _app: Any, lease: Any, _stored: Any, decided: Any) -> Any:
        tx.changed(lease.app_id, lease.user_id, decided.tier, decided.until)
        return entitlements.save(tx.conn, lease.app_id, lease.user_id, decided, tx.now)

    def publish_later(billing: Any, lease: Any, outcome: Any) -> None:
        def job(tx: Any) -> None:
            tx.provision(lease.app_id, lease.user_id)
            if outcome.change is not None:
                write_notice(tx, billing.apps.app(lease.app_id), outcome.change)

        async def work() -> None:
            await billing.work.write(job)
            publish(billing, lease, outcome)

        _later(work())

    refresh._save, refresh._publish = save, publish_later


BREAKAGES: dict[str, Callable[[], None]] = {
    "answer before the commit": answer_before_the_commit,
    "tell outside the transaction": notify_outside_the_transaction,
}
