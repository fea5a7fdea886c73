"""`skpay limits`: the limits of apps.json on their way to LiteLLM."""

from __future__ import annotations

import time

import click
from rich.progress import Progress

from gateway.cli.environment import settings
from gateway.cli.output import bad, err, good
from gateway.cli.server import NoServerError, ask, server_needed
from gateway.settings import Settings

POLL_SECONDS = 0.5


@click.group()
def limits() -> None:
    """The limits of apps.json on their way to LiteLLM."""


@limits.command()
@click.pass_context
def push(context: click.Context) -> None:
    """Tell LiteLLM of every user whose limits are not those of apps.json, and wait until it holds them.

    An edit of apps.json does the same by itself; this shows how far it is. Exit 1 if LiteLLM refused some.
    """
    found = settings()
    try:
        renewed = ask(found, "POST", "/admin/outbox/renew")["renewed"]
        dead = _wait(found)
    except NoServerError:
        raise server_needed(found) from None
    good(f"{renewed} user(s) were told anew; nothing waits")
    if dead:
        bad(f"LiteLLM refused {dead} user(s) for good; see: skpay alerts")
        context.exit(1)


def _wait(found: Settings) -> int:
    """Show what waits until nothing does; returns how many were given up."""
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("telling LiteLLM", total=None)
        most = 0
        while True:
            counts = ask(found, "GET", "/admin/outbox")
            most = max(most, counts["waiting"])
            progress.update(task, total=most or 1, completed=most - counts["waiting"])
            if not counts["waiting"]:
                return int(counts["dead"])
            time.sleep(POLL_SECONDS)
