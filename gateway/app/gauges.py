"""Gauges of waiting work and open alerts."""

from __future__ import annotations

import asyncio
import contextlib

from gateway.errors import SkpayError
from gateway.metrics import Registry
from gateway.store import Store, alerts, inbox, notices, provisioning

COUNT_SECONDS = 5.0


async def keep_gauges(registry: Registry, store: Store) -> None:
    """Count every five seconds, without end; while the store is unavailable the last figures stay."""
    open_alerts = registry.gauge("skpay_alerts", "Open alerts.").of()
    waiting = registry.gauge("skpay_inbox_waiting", "Received events that are not routed yet.").of()
    jobs = registry.gauge("skpay_provisioning_jobs", "Provisioning jobs for LiteLLM by state.", ("state",))
    notice_gauge = registry.gauge("skpay_notices", "Pending and dead notices to apps.", ("state",))
    while True:
        with contextlib.suppress(SkpayError):
            open_alerts.set(len(await store.read(alerts.live)))
            waiting.set(await store.read(inbox.count_waiting))
            for state, count in (await store.read(provisioning.counts)).items():
                jobs.of(state).set(count)
            for state, count in (await store.read(notices.counts)).items():
                notice_gauge.of(state).set(count)
        await asyncio.sleep(COUNT_SECONDS)
