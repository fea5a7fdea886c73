"""`skpay events`: events received from Stripe."""

from __future__ import annotations

from urllib.parse import quote, urlencode

import click

from gateway.billing.events.operator_view import MAX_LISTED, replay, shown_event, whole_event
from gateway.billing.work.transaction import Transaction
from gateway.cli.environment import settings
from gateway.cli.output import as_json, good, instant, json_option, listing
from gateway.cli.server import ask_or_write
from gateway.store import inbox

account_option = click.option("--account", default="", help="The connected account that sent it, if any.")


@click.command("list")
@click.option("--app", "app_id", help="Only those of this app.")
@click.option("--user", "user_id", help="Only those of this user.")
@json_option
def list_(app_id: str | None, user_id: str | None, wants_json: bool) -> None:
    """List the newest events."""

    def job(tx: Transaction) -> dict[str, object]:
        return {"events": [shown_event(event) for event in inbox.recent(tx.conn, MAX_LISTED, app_id, user_id)]}

    query = urlencode({name: value for name, value in (("app", app_id), ("user", user_id)) if value is not None})
    found = ask_or_write(settings(), "GET", f"/admin/events{'?' if query else ''}{query}", None, job)["events"]
    names = ("type", "event_id", "state", "app_id", "user_id")
    rows = [(instant(each["received_at"]), *(each[name] for name in names)) for each in found]
    headings = ("received (UTC)", "type", "id", "state", "app", "user")
    listing(found, headings, rows, wants_json=wants_json, empty="No event was received yet.")


@click.command()
@click.argument("event_id")
@account_option
def show(event_id: str, account: str) -> None:
    """Print one event with its body, as JSON."""
    path = f"/admin/events/{quote(event_id, safe='')}?{urlencode({'account': account})}"
    as_json(ask_or_write(settings(), "GET", path, None, lambda tx: whole_event(tx.conn, account, event_id)))


@click.command("replay")
@click.argument("event_id")
@account_option
def replay_(event_id: str, account: str) -> None:
    """Process an event as if it were received now."""

    def job(tx: Transaction) -> dict[str, object]:
        replay(tx, account, event_id)
        return {}

    path = f"/admin/events/{quote(event_id, safe='')}/replay?{urlencode({'account': account})}"
    ask_or_write(settings(), "POST", path, None, job)
    good(f"{event_id} is routed again; see: skpay events show {event_id}")
