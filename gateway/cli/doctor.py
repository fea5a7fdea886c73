"""`skpay doctor`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import asdict

import click

from gateway.cli.environment import settings
from gateway.cli.output import as_json, bad, good, json_option, say, skipped, warn
from gateway.doctor import Finding, Options, examine
from gateway.doctor.finding import State

_SHOWN: dict[State, Callable[[str], None]] = {"ok": good, "warning": warn, "bad": bad, "not checked": skipped}


@click.command()
@click.option("--live", is_flag=True, help="Also send requests through the public addresses, some with forged headers.")
@click.option("--traefik-api", metavar="URL", help="The address of Traefik's API, such as http://traefik:8080.")
@click.option("--cookie", metavar="COOKIE", help="A valid cookie of Open WebUI to try; - reads it from standard input.")
@click.option("--strict", is_flag=True, help="Exit 1 for a warning too.")
@json_option
@click.pass_context
def doctor(
    context: click.Context, live: bool, traefik_api: str | None, cookie: str | None, strict: bool, wants_json: bool
) -> None:
    """Check the running installation; print what is wrong and how to fix it.

    Exit 0: no problem, or warnings only. 1: a problem. 2: it could not be checked. Changes nothing.
    """
    given = sys.stdin.readline() if cookie == "-" else cookie
    findings = asyncio.run(examine(settings(), Options(live, traefik_api, given)))
    if wants_json:
        as_json([asdict(finding) for finding in findings])
    else:
        _print(findings)
    failing = {"bad", "warning"} if strict else {"bad"}
    if any(finding.state in failing for finding in findings):
        context.exit(1)


def _print(findings: list[Finding]) -> None:
    for finding in findings:
        _SHOWN[finding.state](f"{finding.subject}: {finding.message}")
        if finding.remedy:
            say(f"    → {finding.remedy}")
    counts = ((state, sum(finding.state == state for finding in findings)) for state in _SHOWN)
    say(", ".join(f"{count} {state}" for state, count in counts if count))
