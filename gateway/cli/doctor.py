"""`skpay doctor`."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

import click

from gateway.cli.environment import settings
from gateway.cli.output import as_json, bad, good
from gateway.doctor import examine


@click.command()
@click.option("--json", "wants_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def doctor(context: click.Context, wants_json: bool) -> None:
    """Look at the running installation and say what is wrong and what to do; exit 1 if anything is."""
    findings = asyncio.run(examine(settings()))
    if wants_json:
        as_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            (good if finding.well else bad)(f"{finding.subject}: {finding.message}")
            if finding.remedy:
                click.echo(f"    → {finding.remedy}")
    if not all(finding.well for finding in findings):
        context.exit(1)
