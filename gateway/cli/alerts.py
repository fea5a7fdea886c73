"""`skpay alerts list`."""

from __future__ import annotations

from dataclasses import asdict

import click

from gateway.billing.work.transaction import Transaction
from gateway.cli.environment import settings
from gateway.cli.output import instant, json_option, listing
from gateway.cli.server import ask_or_write
from gateway.store import alerts as stored_alerts


@click.command("list")
@json_option
@click.pass_context
def list_(context: click.Context, wants_json: bool) -> None:
    """List open alerts; exit 1 if there is any."""

    def job(tx: Transaction) -> dict[str, object]:
        return {"alerts": [asdict(alert) for alert in stored_alerts.live(tx.conn)]}

    found = ask_or_write(settings(), "GET", "/admin/alerts", None, job)["alerts"]
    rows = [
        (instant(each["opened_at"]), each["kind"], each["subject"], each["count"], each["message"]) for each in found
    ]
    headings = ("since (UTC)", "kind", "subject", "times", "what")
    listing(found, headings, rows, wants_json=wants_json, empty="No alert is open.")
    if found:
        context.exit(1)
