"""`skpay events`."""

from __future__ import annotations

import click
from sqlalchemy import Connection

from gateway.cli.environment import settings
from gateway.cli.output import instant, table
from gateway.cli.server import ask_or_write
from gateway.store import inbox
from gateway.web.admin import shown_event


@click.command()
def events() -> None:
    """The newest events from Stripe and what became of them."""

    def job(conn: Connection) -> dict[str, object]:
        return {"events": [shown_event(event) for event in inbox.recent(conn, 200)]}

    found = ask_or_write(settings(), "GET", "/admin/events", None, job)["events"]
    rows = [
        (instant(each["received_at"]), each["type"], each["event_id"], each["state"], each["app_id"], each["user_id"])
        for each in found
    ]
    table(("received (UTC)", "type", "id", "state", "app", "user"), rows, empty="No event was received yet.")
