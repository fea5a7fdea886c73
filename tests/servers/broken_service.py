"""The service with one of its promises broken, so that the crash test can be seen to notice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from gateway.billing.notify.notices import write_notice
from gateway.billing.refresh import refresh
from gateway.store import entitlements, provisioning
from gateway.web import stripe_webhook

_under_way: set[asyncio.Task[Any]] = set()


def _later(work: Any) -> None:
    task = asyncio.create_task(work)
    _under_way.add(task)
    task.add_done_callback(_under_way.discard)


def answer_before_the_commit() -> None:
    """Stripe hears 200 while the event is still on its way to the disk."""
    receive = stripe_webhook.receive

    async def hurried(*arguments: Any) -> bool:
        _later(receive(*arguments))
        return True

    stripe_webhook.receive = hurried


def tell_outside_the_transaction() -> None:
    """The entitlement is committed first, what the harness must be told of it afterwards."""
    tell = refresh._publish

    def save(conn: Any, _app: Any, lease: Any, _stored: Any, decided: Any, now: int) -> Any:
        return entitlements.save(conn, lease.app_id, lease.user_id, decided, now)

    def tell_later(billing: Any, lease: Any, outcome: Any) -> None:
        def job(conn: Any) -> None:
            provisioning.put(conn, lease.app_id, lease.user_id, billing.now())
            if outcome.change is not None:
                write_notice(conn, billing.app(lease.app_id), outcome.change, billing.now())

        async def work() -> None:
            await billing.store.write(job)
            tell(billing, lease, outcome)

        _later(work())

    refresh._save, refresh._publish = save, tell_later


BREAKAGES: dict[str, Callable[[], None]] = {
    "answer before the commit": answer_before_the_commit,
    "tell outside the transaction": tell_outside_the_transaction,
}
