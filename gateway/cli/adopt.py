"""`skpay adopt`: customers whom an operator brings along."""

from __future__ import annotations

import asyncio
import csv
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import aiohttp
import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from gateway.app.offline import offline_billing
from gateway.billing.adopt import Claim, adopt_claimed
from gateway.cli.environment import settings
from gateway.cli.output import err, say, table
from gateway.cli.server import NoServerError, ask_async
from gateway.errors import InvalidInput
from gateway.settings import Settings
from gateway.stripe.client import Stripe

CHUNK = 25
_SECONDS = 60.0
_WORDS = {"new": "to adopt", "known": "known already", "refused": "refused"}


@click.command()
@click.option("--app", "app_id", required=True, help="The app whose users they are.")
@click.option("--metadata-key", help="The customers' metadata that holds the app's own user id.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), help="A file with customer_id,user_id lines.")
@click.option("--apply", "apply", is_flag=True, help="Sign and store them; without it nothing is changed.")
@click.pass_context
def adopt(context: click.Context, app_id: str, metadata_key: str | None, csv_file: Path | None, apply: bool) -> None:
    """Make existing Stripe customers users of an app; exit 1 if any was refused."""
    if (metadata_key is None) == (csv_file is None):
        raise InvalidInput("Give either --metadata-key or --csv.")
    claims = _from_csv(csv_file) if csv_file is not None else None
    verdicts = asyncio.run(_adopt(settings(), app_id, claims, metadata_key or "", apply=apply))
    rows = [(each["customer_id"], each["user_id"], _WORDS[each["state"]], each["why"]) for each in verdicts]
    table(("customer", "user", "what", "why"), rows, empty="No customer was found.")
    counts = Counter(each["state"] for each in verdicts)
    done = "adopted" if apply else "to adopt"
    say(f"{counts['new']} {done}, {counts['known']} known already, {counts['refused']} refused")
    if counts["new"] and not apply:
        say("nothing was changed; do it with --apply")
    if counts["refused"]:
        context.exit(1)


def _from_csv(path: Path) -> list[Claim]:
    """Raises `InvalidInput` with the number of the first line that is none."""
    claims: list[Claim] = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.reader(file), start=1):
            if not row or (number == 1 and row[0].strip() == "customer_id"):
                continue
            if len(row) != 2 or not all(cell.strip() for cell in row):
                raise InvalidInput(f"{path}:{number}: expected customer_id,user_id")
            claims.append(Claim(row[0].strip(), row[1].strip()))
    return claims


async def _adopt(
    found: Settings, app_id: str, claims: list[Claim] | None, metadata_key: str, *, apply: bool
) -> list[dict[str, Any]]:
    """The verdict on each claim; with `apply`, carried out."""
    if claims is None:
        claims = await _from_metadata(found, metadata_key)

    async def through_server(chunk: list[Claim]) -> list[dict[str, Any]]:
        body = {"app_id": app_id, "apply": apply, "claims": [asdict(each) for each in chunk]}
        told = await ask_async(found, "POST", "/admin/adopt", body, seconds=_SECONDS)
        return list(told["verdicts"])

    try:
        await ask_async(found, "GET", "/admin/account")
    except NoServerError:
        async with offline_billing(found, os.environ) as billing:

            async def alone(chunk: list[Claim]) -> list[dict[str, Any]]:
                return [asdict(each) for each in await adopt_claimed(billing, app_id, chunk, apply=apply)]

            return await _in_chunks(claims, alone)
    return await _in_chunks(claims, through_server)


async def _in_chunks(
    claims: list[Claim], judge: Callable[[list[Claim]], Awaitable[list[dict[str, Any]]]]
) -> list[dict[str, Any]]:
    verdicts: list[dict[str, Any]] = []
    columns = (TextColumn("asking Stripe"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("", total=len(claims))
        for chunk in _chunks(claims):
            verdicts += await judge(chunk)
            bar.update(task, completed=len(verdicts))
    return verdicts


def _chunks(claims: list[Claim]) -> Iterator[list[Claim]]:
    """Each claim once; those that contradict each other in one chunk, so that both are refused."""
    of_customer: dict[str, list[Claim]] = {}
    for each in dict.fromkeys(claims):
        of_customer.setdefault(each.customer_id, []).append(each)
    chunk: list[Claim] = []
    for group in of_customer.values():
        if chunk and len(chunk) + len(group) > CHUNK:
            yield chunk
            chunk = []
        chunk += group
    if chunk:
        yield chunk


async def _from_metadata(found: Settings, key: str) -> list[Claim]:
    """Every customer of the account that has this metadata."""
    async with aiohttp.ClientSession() as session:
        stripe = Stripe(session, found.stripe_secret_key, api_base=found.stripe_api_base)
        return [
            Claim(str(each.get("id")), str(user_id))
            async for each in stripe.each("/v1/customers")
            if (user_id := (each.get("metadata") or {}).get(key))
        ]
