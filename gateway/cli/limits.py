"""`skpay limits`: provisioning of the limits of apps.json to LiteLLM."""

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
    """Provision every user whose limits differ from apps.json, and wait until it is done.

    The server does the same after an edit of apps.json; this shows its progress. Exit 1 if LiteLLM refused some.
    """
    found = settings()
    try:
        renewed = ask(found, "POST", "/admin/provisioning/renew")["renewed"]
        dead = _wait(found)
    except NoServerError:
        raise server_needed(found) from None
    good(f"{renewed} user(s) were provisioned; nothing waits")
    if dead:
        bad(f"LiteLLM refused {dead} user(s) for good; see: skpay alerts list")
        context.exit(1)


def _wait(found: Settings) -> int:
    """Show progress until no job waits; returns the number of jobs that were given up."""
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
    """Retry provisioning that was given up, after its cause was fixed."""

    def job(tx: Transaction) -> dict[str, object]:
        return {"revived": revive_dead_jobs(tx)}

    revived = ask_or_write(settings(), "POST", "/admin/provisioning/retry", None, job)["revived"]
    good(f"{revived} user(s) are provisioned again; see: skpay alerts list")
