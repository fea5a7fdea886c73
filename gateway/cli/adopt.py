"""`skpay users adopt`: existing Stripe customers become users."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import aiohttp
import click

from gateway.app.offline import offline_billing
from gateway.billing.accounts.adopt import Assignment, adopt_assigned
from gateway.cli.environment import settings
from gateway.cli.output import json_option, listing, say
from gateway.cli.progress import progress
from gateway.cli.server import NoServerError, ask_async
from gateway.errors import ConfigError, InvalidInput
from gateway.files import decoded
from gateway.settings import Settings
from gateway.stripe.client import Stripe
from gateway.stripe.errors import AuthenticationFailed
from gateway.stripe.transport import Transport

CHUNK = 25
_SECONDS = 60.0
_WORDS = {"new": "to adopt", "known": "known already", "refused": "refused"}


@click.command()
@click.option("--app", "app_id", required=True, help="The app that they are users of.")
@click.option("--metadata-key", help="The customers' metadata that holds the app's own user id.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), help="A file with customer_id,user_id lines.")
@click.option("--customer", "customer_id", help="One customer, together with --user.")
@click.option("--user", "user_id", help="The user id that --customer has in the app.")
@click.option("--apply", "apply", is_flag=True, help="Sign and store them; without it nothing is changed.")
@json_option
@click.pass_context
def adopt(
    context: click.Context,
    app_id: str,
    metadata_key: str | None,
    csv_file: Path | None,
    customer_id: str | None,
    user_id: str | None,
    apply: bool,
    wants_json: bool,
) -> None:
    """Make existing Stripe customers users of an app; exit 1 if one was refused."""
    one = customer_id is not None and user_id is not None
    if [metadata_key is not None, csv_file is not None, one].count(True) != 1 or (customer_id is None) != (
        user_id is None
    ):
        raise InvalidInput("Give either --metadata-key or --csv, or --customer with --user.")
    assignments = _from_csv(csv_file) if csv_file is not None else None
    if customer_id is not None and user_id is not None:
        assignments = [Assignment(customer_id, user_id)]
    verdicts = asyncio.run(_adopt(settings(), app_id, assignments, metadata_key or "", apply=apply))
    rows = [(each["customer_id"], each["user_id"], _WORDS[each["state"]], each["why"]) for each in verdicts]
    headings = ("customer", "user", "what", "why")
    listing(verdicts, headings, rows, wants_json=wants_json, empty="No customer was found.")
    counts = Counter(each["state"] for each in verdicts)
    if not wants_json:
        done = "adopted" if apply else "to adopt"
        say(f"{counts['new']} {done}, {counts['known']} known already, {counts['refused']} refused")
        if counts["new"] and not apply:
            say("nothing was changed; do it with --apply")
    if counts["refused"]:
        context.exit(1)


def _from_csv(path: Path) -> list[Assignment]:
    """Raises `InvalidInput` with the number of the first malformed line, or for a file that is not UTF-8."""
    assignments: list[Assignment] = []
    try:
        text = decoded(path.read_bytes())
    except ValueError as exc:
        raise InvalidInput(f"{path}: {exc}; in a spreadsheet choose: Save as > CSV UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        for row in reader:
            assignments += _assignment_of(f"{path}:{reader.line_num}", row)
    except csv.Error as exc:
        raise InvalidInput(f"{path}:{reader.line_num}: is no CSV: {exc}") from None
    return assignments


def _assignment_of(place: str, row: list[str]) -> list[Assignment]:
    cells = [cell.strip() for cell in row]
    if not any(cells) or cells == ["customer_id", "user_id"]:
        return []
    if len(cells) == 1 and cells[0].startswith("cus_") and (found := re.search(r"[;\t|]", cells[0])):
        raise InvalidInput(f"{place}: expected customer_id,user_id with a comma between, got {found[0]!r}")
    if len(cells) != 2 or not all(cells):
        raise InvalidInput(f"{place}: expected customer_id,user_id")
    return [Assignment(cells[0], cells[1])]


async def _adopt(
    found: Settings, app_id: str, assignments: list[Assignment] | None, metadata_key: str, *, apply: bool
) -> list[dict[str, Any]]:
    """The result for each claim; with `apply`, it is carried out."""
    if assignments is None:
        assignments = await _from_metadata(found, metadata_key)

    async def through_server(chunk: list[Assignment]) -> list[dict[str, Any]]:
        body = {"app_id": app_id, "apply": apply, "claims": [asdict(each) for each in chunk]}
        answer = await ask_async(found, "POST", "/admin/adopt", body, seconds=_SECONDS)
        return list(answer["verdicts"])

    try:
        await ask_async(found, "GET", "/admin/account")
    except NoServerError:
        async with offline_billing(found, os.environ) as billing:

            async def alone(chunk: list[Assignment]) -> list[dict[str, Any]]:
                return [asdict(each) for each in await adopt_assigned(billing, app_id, chunk, apply=apply)]

            return await _in_chunks(assignments, alone)
    return await _in_chunks(assignments, through_server)


async def _in_chunks(
    assignments: list[Assignment], judge: Callable[[list[Assignment]], Awaitable[list[dict[str, Any]]]]
) -> list[dict[str, Any]]:
    verdicts: list[dict[str, Any]] = []
    with progress() as bar:
        task = bar.add_task("asking Stripe", total=len(assignments))
        for chunk in _chunks(assignments):
            verdicts += await judge(chunk)
            bar.update(task, completed=len(verdicts))
    return verdicts


def _chunks(assignments: list[Assignment]) -> Iterator[list[Assignment]]:
    """Each claim once; contradictory ones in the same chunk, so that both are refused."""
    of_customer: dict[str, list[Assignment]] = {}
    for each in dict.fromkeys(assignments):
        of_customer.setdefault(each.customer_id, []).append(each)
    chunk: list[Assignment] = []
    for group in of_customer.values():
        if chunk and len(chunk) + len(group) > CHUNK:
            yield chunk
            chunk = []
        chunk += group
    if chunk:
        yield chunk


async def _from_metadata(found: Settings, key: str) -> list[Assignment]:
    """Every customer of the account that has this metadata."""
    async with aiohttp.ClientSession() as session:
        stripe = Stripe(Transport(session, found.stripe_secret_key, api_base=found.stripe_api_base))
        try:
            return await _claims_of(stripe, key)
        except AuthenticationFailed as exc:
            problem = "STRIPE_SECRET_KEY: Stripe does not know this key; Dashboard > Developers > API keys shows it"
            raise ConfigError([problem]) from exc


async def _claims_of(stripe: Stripe, key: str) -> list[Assignment]:
    return [
        Assignment(each.customer_id, str(user_id))
        async for each in stripe.customers.list_all()
        if (user_id := each.metadata.get(key))
    ]
