"""The alert `sessions_not_verified`: an invalid session counts as signed out, so no 401 shows a wrong secret."""

from __future__ import annotations

import asyncio

from gateway.app.gate_apps import GateApps
from gateway.billing.work.alerting import open_alert, resolve_alert
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.store import alerts

KIND = "sessions_not_verified"
LOOK_SECONDS = 5.0
_MESSAGE = (
    "most of this app's sessions are not signed with the secret or the keys that apps.json names, so their users "
    "count as signed out: give the app and its entry in apps.json the same secret, and restart or reload"
)


async def watch_sessions(work: UnitOfWork, installed: GateApps) -> None:
    """Open and resolve the alert of each app, without end."""
    opened = {row.subject for row in await work.read(alerts.live) if row.kind == KIND}
    while True:
        apps = installed.access
        for app_id, app in apps.items():
            sessions = app.identity.sessions
            verdict = "fine" if sessions is None else sessions.verdict(work.now())
            if verdict == "failing" and app_id not in opened:
                await open_alert(work, "sessions_not_verified", app_id, _MESSAGE)
                opened.add(app_id)
            elif verdict == "fine" and app_id in opened:
                await resolve_alert(work, KIND, app_id)
                opened.discard(app_id)
        for app_id in opened - apps.keys():
            await resolve_alert(work, KIND, app_id)
            opened.discard(app_id)
        await asyncio.sleep(LOOK_SECONDS)
