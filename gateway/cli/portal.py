"""`skpay portal`."""

from __future__ import annotations

import click

from gateway.cli.environment import settings
from gateway.cli.output import good, say
from gateway.cli.server import NoServerError, ask, server_needed

_SECONDS = 60.0


@click.command()
def push() -> None:
    """Write each app's portal configuration to Stripe, overwriting changes made there."""
    found = settings()
    try:
        pushed = ask(found, "POST", "/admin/portals/push", seconds=_SECONDS)["portals"]
    except NoServerError as exc:
        raise server_needed(found) from exc
    for app_id, configuration_id in pushed.items():
        good(f"{app_id}: {configuration_id}")
    if not pushed:
        say("no app sells anything")
