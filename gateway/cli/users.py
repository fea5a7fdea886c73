"""`skpay users show|explain|grant|revoke|refresh`: one user of one app."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import click

from gateway.app.catalog_file import CatalogFile
from gateway.billing.refresh import grants
from gateway.billing.work.transaction import Transaction
from gateway.cli.environment import settings
from gateway.cli.output import as_json, good, instant, json_option, listing, say, table
from gateway.cli.server import NoServerError, ask, ask_or_write, server_needed
from gateway.errors import InvalidInput

_BEHIND = ("changes", "events", "provisioning", "notices", "refresh", "concerns")


def _explained(app_id: str, user_id: str) -> Any:
    found = settings()
    try:
        return ask(found, "GET", f"/explain/{quote(app_id, safe='')}/{quote(user_id, safe='')}")
    except NoServerError:
        raise server_needed(found) from None


@click.command()
@click.argument("app_id", metavar="APP")
@click.argument("user_id", metavar="USER")
@json_option
def show(app_id: str, user_id: str, wants_json: bool) -> None:
    """Show one user's tier, limits and features, as the app gets them."""
    found = {key: value for key, value in _explained(app_id, user_id).items() if key not in _BEHIND}
    rows = [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in found.items()]
    listing(found, ("field", "value"), rows, wants_json=wants_json, empty="")


@click.command()
@click.argument("app_id", metavar="APP")
@click.argument("user_id", metavar="USER")
@json_option
def explain(app_id: str, user_id: str, wants_json: bool) -> None:
    """Explain a user's tier: its events, changes and provisioning."""
    found = _explained(app_id, user_id)
    if wants_json:
        as_json(found)
        return
    stripe = f", Stripe: {found['status']}" if found["status"] else ""
    say(f"{app_id}/{user_id} has {found['tier']}: {found['reason']} ({found['source']}{stripe})")
    for change in found["then"]:
        say(f"  from {instant(change['at'])} UTC, without an event: {change['tier']}")
    if found["pending_tier"] is not None:
        say(f"  from {instant(found['pending_tier']['at'])} UTC, scheduled at Stripe: {found['pending_tier']['tier']}")
    for concern in found["concerns"]:
        say(f"  to be fixed: {concern['kind']}: {concern['message']}")
    _say_timers(found["refresh"])
    rows: list[tuple[object, ...]] = [
        (instant(each["at"]), f"{each['from'] or '(new)'} → {each['to']}", each["reason"]) for each in found["changes"]
    ]
    table(("changed (UTC)", "tier", "reason"), rows, empty="No change of tier yet.")
    rows = [(instant(each["received_at"]), each["type"], each["event_id"], each["state"]) for each in found["events"]]
    table(("received (UTC)", "event", "id", "state"), rows, empty="No event yet.")
    rows = [(each["kind"], each["state"], each["attempts"], each["error"]) for each in found["provisioning"]]
    table(("job", "state", "attempts", "error"), rows, empty="Nothing was provisioned yet.")
    rows = [(instant(each["created_at"]), each["state"], each["attempts"], each["error"]) for each in found["notices"]]
    table(("notified of (UTC)", "state", "attempts", "error"), rows, empty="The app was not notified yet.")


def _say_timers(refresh: Any) -> None:
    """Print when the server will refresh the user next."""
    if refresh is None:
        return
    for name in ("due_at", "timer_at"):
        if refresh[name] is not None:
            failed = f", failed {refresh['attempts']} times: {refresh['last_error']}" if refresh["attempts"] else ""
            say(f"  next refresh at {instant(refresh[name])} UTC{failed}")


def _until_at(until: str | None) -> int | None:
    if until is None:
        return None
    try:
        at = datetime.fromisoformat(until)
        return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    except ValueError:
        raise InvalidInput(f"--until: expected a date such as 2027-01-31, got {until[:40]!r}") from None


@click.command()
@click.argument("app_id", metavar="APP")
@click.argument("user_id", metavar="USER")
@click.argument("tier", metavar="TIER")
@click.option("--reason", required=True, help="Kept, and shown by explain.")
@click.option("--until", help="A date (UTC) such as 2027-01-31; left out: without end.")
def grant(app_id: str, user_id: str, tier: str, reason: str, until: str | None) -> None:
    """Give a user a tier without a subscription."""
    found, until_at = settings(), _until_at(until)

    def job(tx: Transaction) -> dict[str, object]:
        catalog, _ = CatalogFile(found, os.environ).read()
        return {"grant_id": grants.give(tx, catalog, app_id, user_id, tier, reason, until_at)}

    body = {"app_id": app_id, "user_id": user_id, "tier": tier, "reason": reason, "until_at": until_at}
    ask_or_write(found, "POST", "/admin/grants", body, job)
    good(f"{user_id} is given {tier} of {app_id}{f' until {until}' if until else ''}")


@click.command()
@click.argument("app_id", metavar="APP")
@click.argument("user_id", metavar="USER")
def revoke(app_id: str, user_id: str) -> None:
    """Revoke every grant of a user."""
    path = f"/admin/grants/{quote(app_id, safe='')}/{quote(user_id, safe='')}"

    def job(tx: Transaction) -> dict[str, object]:
        return {"ended": grants.take_back(tx, app_id, user_id)}

    ended = ask_or_write(settings(), "DELETE", path, None, job)["ended"]
    good(f"{ended} grant(s) of {user_id} ended")


@click.command()
@click.argument("app_id", metavar="APP")
@click.argument("user_id", metavar="USER")
def refresh(app_id: str, user_id: str) -> None:
    """Refresh a user's tier from Stripe now, as an event does."""
    found = settings()
    try:
        ask(found, "POST", "/admin/refresh", {"app_id": app_id, "user_id": user_id})
    except NoServerError:
        raise server_needed(found) from None
    good(f"{user_id} of {app_id} is asked about; see: skpay users explain {app_id} {user_id}")
