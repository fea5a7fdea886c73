"""The alert `sessions_not_verified`: an invalid session counts as signed out, so no 401 shows a wrong secret."""

from __future__ import annotations

import asyncio

from gateway.app.gate_apps import GateApps
from gateway.app.gate_figures import GateFigures, verdicts
from gateway.billing.work.alerting import open_alert, resolve_alert
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.store import alerts

KIND = "sessions_not_verified"
LOOK_SECONDS = 5.0
_MESSAGE = (
    "most of this app's sessions are not signed with the secret or the keys that apps.json names, so their users "
    "count as signed out: give the app and its entry in apps.json the same secret, and restart or reload"
)


async def watch_sessions(work: UnitOfWork, installed: GateApps, figures: GateFigures) -> None:
    """Open and resolve the alert of each app, without end. One gate at which most sessions fail is enough."""
    opened = {row.subject for row in await work.read(alerts.live) if row.kind == KIND}
    while True:
        apps, ours = installed.access, verdicts(installed, work.now())
        for app_id, app in apps.items():
            found = figures.sessions(app_id, work.monotonic()) | ({ours[app_id]} if app_id in ours else set())
            if "failing" in found and app_id not in opened:
                await open_alert(work, "sessions_not_verified", app_id, _MESSAGE)
                opened.add(app_id)
            elif (found == {"fine"} or app.identity.sessions is None) and app_id in opened:
                await resolve_alert(work, KIND, app_id)
                opened.discard(app_id)
        for app_id in opened - apps.keys():
            await resolve_alert(work, KIND, app_id)
            opened.discard(app_id)
        await asyncio.sleep(LOOK_SECONDS)
