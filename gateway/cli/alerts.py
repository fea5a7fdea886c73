"""`skpay alerts` and `skpay retry`."""

from __future__ import annotations

import time
from dataclasses import asdict

import click
from sqlalchemy import Connection

from gateway.cli.environment import settings
from gateway.cli.output import good, instant, table
from gateway.cli.server import ask_or_write
from gateway.store import alerts as stored_alerts
from gateway.store import outbox


@click.command()
@click.pass_context
def alerts(context: click.Context) -> None:
    """Everything a person must look at; exit 1 if there is any."""

    def job(conn: Connection) -> dict[str, object]:
        return {"alerts": [asdict(alert) for alert in stored_alerts.live(conn)]}

    found = ask_or_write(settings(), "GET", "/admin/alerts", None, job)["alerts"]
    rows = [
        (instant(each["opened_at"]), each["kind"], each["subject"], each["count"], each["message"]) for each in found
    ]
    table(("since (UTC)", "kind", "subject", "times", "what"), rows, empty="No alert is open.")
    if found:
        context.exit(1)


@click.command()
def retry() -> None:
    """Try again what LiteLLM refused for good, after its cause was mended."""

    def job(conn: Connection) -> dict[str, object]:
        return {"revived": outbox.revive(conn, None, int(time.time()))}

    good(f"{ask_or_write(settings(), 'POST', '/admin/outbox/retry', None, job)['revived']} wish(es) are tried again")
