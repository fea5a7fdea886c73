"""`skpay limits`: the limits of apps.json on their way to LiteLLM."""

from __future__ import annotations

import time

import click

from gateway.billing.provision.provision import revive_dead_jobs
from gateway.billing.work.transaction import Transaction
from gateway.cli.environment import settings
from gateway.cli.output import bad, good
from gateway.cli.progress import progress
from gateway.cli.server import NoServerError, ask, ask_or_write, server_needed
from gateway.settings import Settings

POLL_SECONDS = 0.5


@click.command()
@click.pass_context
def push(context: click.Context) -> None:
    """Send LiteLLM the limits of every user that differ from apps.json, and wait until it holds them.

    An edit of apps.json does the same by itself; this shows how far it is. Exit 1 if LiteLLM refused some.
    """
    found = settings()
    try:
        renewed = ask(found, "POST", "/admin/provisioning/renew")["renewed"]
        dead = _wait(found)
    except NoServerError:
        raise server_needed(found) from None
    good(f"{renewed} user(s) were sent again; nothing waits")
    if dead:
        bad(f"LiteLLM refused {dead} user(s) for good; see: skpay alerts list")
        context.exit(1)


def _wait(found: Settings) -> int:
    """Show what waits until nothing does; returns how many were given up."""
    with progress() as bar:
        task = bar.add_task("sending to LiteLLM", total=None)
        most = 0
        while True:
            counts = ask(found, "GET", "/admin/provisioning")
            most = max(most, counts["waiting"])
            bar.update(task, total=most or 1, completed=most - counts["waiting"])
            if not counts["waiting"]:
                return int(counts["dead"])
            time.sleep(POLL_SECONDS)


@click.command()
def retry() -> None:
    """Send again what LiteLLM refused for good, after its cause was removed."""

    def job(tx: Transaction) -> dict[str, object]:
        return {"revived": revive_dead_jobs(tx)}

    revived = ask_or_write(settings(), "POST", "/admin/provisioning/retry", None, job)["revived"]
    good(f"{revived} user(s) are sent to LiteLLM again; see: skpay alerts list")
