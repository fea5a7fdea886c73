"""The alert `gate_degraded`: a gate answers, but not from current data, or could not start without the database."""

from __future__ import annotations

import asyncio

from gateway.app.gate_figures import GateFigures
from gateway.app.gate_follower import GateFollower
from gateway.billing.work.alerting import open_alert, resolve_alert
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.store import alerts

KIND = "gate_degraded"
LOOK_SECONDS = 10.0
"""Gate processes report twice in this time."""
MAIN = "main process"


async def watch_gates(work: UnitOfWork, figures: GateFigures, follower: GateFollower) -> None:
    """Open and resolve the alert of each gate process, and of the gate in this process, without end. `follower`: of the
    latter. While the database is away there is no alert: `store_failed` says it."""
    opened = {row.subject for row in await work.read(alerts.live) if row.kind == KIND}
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        found = figures.problems(work.monotonic())
        if follower.stale:
            found[MAIN] = follower.stale
        for subject in found.keys() - opened:
            await open_alert(work, "gate_degraded", subject, found[subject])
            opened.add(subject)
        for subject in opened - found.keys():
            await resolve_alert(work, KIND, subject)
            opened.discard(subject)
