"""`skpay reconcile`: differences between Stripe, the store and LiteLLM."""

from __future__ import annotations

import time
from typing import Any

import click

from gateway.cli.environment import settings
from gateway.cli.output import as_json, bad, complain, good, json_option, say, table
from gateway.cli.progress import progress
from gateway.cli.server import NoServerError, ask, server_needed
from gateway.errors import InvalidInput, UpstreamFailed
from gateway.settings import Settings

POLL_SECONDS = 0.3
_PATH = "/admin/reconcile"
_TITLES = {
    "paid_but_blocked": "paid but blocked",
    "unpaid_but_active": "unpaid but active",
    "other": "other difference",
}


@click.command()
@click.option("--app", "app_id", help="Only this app.")
@click.option("--apply", is_flag=True, help="Repair differences, as an event from Stripe does.")
@click.option("--yes", is_flag=True, help="With --apply: also lower many paying users at once.")
@json_option
@click.pass_context
def reconcile(context: click.Context, app_id: str | None, apply: bool, yes: bool, wants_json: bool) -> None:
    """Compare Stripe, the store and LiteLLM; exit 1 if they differ.

    With --apply exit 1 only for what cannot be repaired here.
    """
    if yes and not apply:
        raise InvalidInput("--yes goes with --apply only: without it nothing is changed.")
    found = settings()
    try:
        ask(found, "POST", _PATH, {"app_id": app_id, "apply": apply, "yes": yes})
        job = _done(found)
    except NoServerError:
        raise server_needed(found) from None
    if job["error"] is not None:
        raise UpstreamFailed(f"Nothing was compared or changed: {job['error']}")
    report = job["report"]
    if wants_json:
        as_json(report)
    else:
        _print_report(report)
    if report["unknown_spenders"] or report["unadopted"] or (report["lines"] and not report["applied"]):
        context.exit(1)
    if report["problems"]:
        context.exit(3)


def _done(found: Settings) -> Any:
    """The finished job; shows its progress on a terminal."""
    with progress() as bar:
        task = bar.add_task("waiting", total=None)
        while True:
            job = ask(found, "GET", _PATH)
            if not job["under_way"]:
                return job
            total = max(job["total"], job["done"]) or None
            bar.update(task, description=job["phase"], completed=job["done"], total=total)
            time.sleep(POLL_SECONDS)


def _print_report(report: Any) -> None:
    rows = [
        (
            _TITLES[line["kind"]],
            line["app_id"],
            line["user_id"],
            line["stripe"],
            line["store"],
            line["litellm"],
            line["repair"],
        )
        for line in report["lines"]
    ]
    headings = ("what", "app", "user", "Stripe", "store", "LiteLLM", "repair")
    differs = any(report[kind] for kind in ("unknown_spenders", "unadopted", "problems", "stopped"))
    table(headings, rows, empty="No user differs." if differs else "Stripe, the store and LiteLLM agree.")
    if report["left_out"]:
        say(f"… and {report['left_out']} more")
    checked = report["checked"]
    say(
        f"{checked['subscriptions']} subscriptions and {checked['customers']} customers compared, "
        f"{checked['one_by_one']} looked up one by one, {checked['litellm']} users compared with LiteLLM"
    )
    for spender in report["unknown_spenders"]:
        bad(f"LiteLLM counts spend of {spender!r}, which is no user here")
    for message in report["unadopted"]:
        bad(message)
    complain(*report["problems"])
    if report["stopped"]:
        bad(report["stopped"])
    elif report["applied"] and rows:
        good("the repairs are under way; run it again to see what is left")
    elif rows:
        say("Nothing was changed; repair with: skpay reconcile --apply")
