"""`skpay users list`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from itertools import islice
from typing import IO, Any
from urllib.parse import urlencode

import click

from gateway.app.catalog_file import CatalogFile
from gateway.billing.accounts.users_page import users_page
from gateway.cli.environment import settings
from gateway.cli.output import instant, json_option, listing, say
from gateway.cli.server import NoServerError, after_no_answer, ask
from gateway.errors import ConfigError
from gateway.settings import Settings

_HEADINGS = ("app", "user", "tier", "status", "source", "reason", "customer", "changed (UTC)", "until (UTC)")


@click.command("list")
@click.option("--app", "app_id", help="Only users of this app.")
@click.option("--tier", help="Only users on this tier.")
@click.option("--status", help="Only users whose subscription has this status at Stripe; none: no subscription.")
@click.option(
    "--missing-from",
    type=click.File("r", encoding="utf-8"),
    help="Only users of --app that this file lacks: ids, one a line, or Open WebUI's /api/v1/users/all; - is stdin.",
)
@click.option("--limit", type=click.IntRange(min=1), help="At most this many; left out: all.")
@json_option
def list_(
    app_id: str | None,
    tier: str | None,
    status: str | None,
    missing_from: IO[str] | None,
    limit: int | None,
    wants_json: bool,
) -> None:
    """List users by app and user id, with tier, status and source."""
    there = None if missing_from is None else _ids_in_app(missing_from, app_id)
    expected = {"app": app_id, "tier": tier, "status": status}
    query = {name: value for name, value in expected.items() if value is not None}
    users = (each for each in _each(settings(), query) if there is None or each["user_id"] not in there)
    found = list(users if limit is None else islice(users, limit))
    rows = [
        (each["app_id"], each["user_id"], each["tier"], each["status"], each["source"], each["reason"],
         each["customer_id"], instant(each["changed_at"]), instant(each["until_at"]))
        for each in found
    ]  # fmt: skip
    listing(found, _HEADINGS, rows, wants_json=wants_json, empty="No user.")
    if not wants_json and limit is not None and next(users, None) is not None:
        say(f"… and more than these {limit}")


def _ids_in_app(file: IO[str], app_id: str | None) -> set[str]:
    """The ids of the users in the app's own list. Raises `ConfigError`."""
    if app_id is None:
        raise ConfigError(["--missing-from: give --app too, since ids are those of one app"])
    try:
        text = file.read()
    except UnicodeDecodeError:
        raise ConfigError([f"{file.name}: is not UTF-8; export the list again as UTF-8"]) from None
    try:
        if text.lstrip().startswith(("{", "[")):
            found = json.loads(text)
            ids = {str(user["id"]) for user in (found["users"] if isinstance(found, dict) else found)}
        else:
            ids = {line.strip() for line in text.splitlines() if line.strip()}
    except ValueError as exc:
        raise ConfigError([f"{file.name}: is not JSON: {exc}"]) from None
    except (KeyError, TypeError):
        raise ConfigError([f'{file.name}: expected {{"users": [{{"id": …}}, …]}} or ids, one a line']) from None
    if not ids:
        raise ConfigError([f"{file.name}: has no user id, so every user would be missing"])
    return ids


def _each(found: Settings, query: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Every page, so that no answer is larger than a page."""
    try:
        yield from _paged(lambda requested: ask(found, "GET", f"/admin/users?{urlencode(requested)}"), query)
    except NoServerError:
        catalog, _ = CatalogFile(found, os.environ).read()
        yield from after_no_answer(
            found, lambda tx: list(_paged(lambda requested: users_page(tx.conn, catalog, requested), query))
        )


def _paged(page_of: Callable[[dict[str, str]], Any], query: dict[str, str]) -> Iterator[dict[str, Any]]:
    place: dict[str, str] = {}
    while True:
        page = page_of({**query, **place})
        yield from page["users"]
        if not page["more"]:
            return
        last = page["users"][-1]
        place = {"after_app": last["app_id"], "after_user": last["user_id"]}
