"""`skpay notices`: notices of tier changes sent to apps."""

from __future__ import annotations

import os
from urllib.parse import urlencode

import click

from gateway.app.catalog_file import CatalogFile
from gateway.billing.accounts.users_page import check_app_filter
from gateway.billing.notify.operator_view import MAX_LISTED, replay, shown_notice
from gateway.billing.work.transaction import Transaction
from gateway.cli.environment import settings
from gateway.cli.output import good, instant, json_option, listing
from gateway.cli.server import ask_or_write
from gateway.errors import InvalidInput
from gateway.store import notices as stored


@click.command(name="list")
@click.option("--app", "app_id", help="Only those of this app.")
@click.option("--state", type=click.Choice(stored.STATES), help="Only those in this state.")
@json_option
def list_(app_id: str | None, state: str | None, wants_json: bool) -> None:
    """List the newest notices and the apps' answers."""

    def job(tx: Transaction) -> dict[str, object]:
        recent = stored.recent(tx.conn, MAX_LISTED, app_id, state)
        if not recent:
            check_app_filter(CatalogFile(found, os.environ).read()[0], app_id)
        return {"notices": [shown_notice(each) for each in recent]}

    found = settings()
    query = urlencode({name: value for name, value in (("app", app_id), ("state", state)) if value is not None})
    listed = ask_or_write(found, "GET", f"/admin/notices{'?' if query else ''}{query}", None, job)["notices"]
    names = ("change_id", "app_id", "user_id", "state", "attempts", "error")
    rows = [(instant(each["created_at"]), *(each[name] for name in names)) for each in listed]
    headings = ("changed (UTC)", "change", "app", "user", "state", "attempts", "error")
    listing(listed, headings, rows, wants_json=wants_json, empty="No notice.")


@click.command(name="replay")
@click.argument("change_id", required=False)
@click.option("--dead", is_flag=True, help="All that were given up, instead of one.")
@click.option("--app", "app_id", help="With --dead: only those of this app.")
def replay_(change_id: str | None, dead: bool, app_id: str | None) -> None:
    """Resend a notice, with the same webhook-id and body."""
    if (change_id is not None) == dead:
        raise InvalidInput("Name one CHANGE_ID, or give --dead for all that were given up.")
    if app_id is not None and not dead:
        raise InvalidInput("--app goes with --dead only: a CHANGE_ID is of one app.")

    def job(tx: Transaction) -> dict[str, object]:
        return {"replayed": replay(tx, change_id, app_id, dead)}

    body = {"change_id": change_id, "dead": dead, "app_id": app_id}
    replayed = ask_or_write(settings(), "POST", "/admin/notices/replay", body, job)["replayed"]
    good(f"{replayed} notice(s) are resent; see: skpay notices list")
