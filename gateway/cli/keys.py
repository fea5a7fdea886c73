"""`skpay keys`."""

from __future__ import annotations

import os
from typing import Any

import click

from gateway.app.catalog_file import CatalogFile
from gateway.billing.accounts.keys import create_key, shown_key
from gateway.billing.work.transaction import Transaction
from gateway.cli.environment import settings
from gateway.cli.output import good, instant, json_option, listing, say
from gateway.cli.server import ask_or_write
from gateway.store import keys as stored_keys


@click.command("create")
@click.option("--app", "app_id", required=True, help="The app it is for.")
@click.option("--user", "user_id", help="A key of this user, for `user_key` identity; left out: one of the app itself.")
@click.option("--name", default="", help="A name to distinguish it by.")
def create(app_id: str, user_id: str | None, name: str) -> None:
    """Create a key and print it; it cannot be shown later."""
    found = settings()

    def job(tx: Transaction) -> dict[str, object]:
        catalog, _ = CatalogFile(found, os.environ).read()
        key, text = create_key(tx.conn, catalog, app_id, user_id, name, tx.now)
        return {**shown_key(key), "key": text}

    body = {"app_id": app_id, "name": name} | ({"user_id": user_id} if user_id else {})
    made = ask_or_write(found, "POST", "/admin/keys", body, job)
    good(f"key {made['key_id']} of {app_id}{f' for {user_id}' if user_id else ''}; it is not shown again:")
    click.echo(made["key"])


@click.command("list")
@json_option
def list_(wants_json: bool) -> None:
    """List keys, live and revoked."""

    def job(tx: Transaction) -> dict[str, object]:
        return {"keys": [shown_key(key) for key in stored_keys.all_(tx.conn)]}

    found = ask_or_write(settings(), "GET", "/admin/keys", None, job)["keys"]
    rows = [
        (each["key_id"], each["app_id"], each["user_id"] or "(the app)", each["name"], instant(each["created_at"]),
         instant(each["revoked_at"]) or "live")
        for each in found
    ]  # fmt: skip
    headings = ("id", "app", "user", "name", "created", "revoked")
    listing(found, headings, rows, wants_json=wants_json, empty="There are no keys.")


class _KeyId(click.IntRange):
    """A key's id. The message names the command that lists them."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            self.fail(f'expected the id of a key, such as 3, got "{value}"; see: skpay keys list', param, ctx)


@click.command("revoke")
@click.argument("key_id", type=_KeyId(min=1))
def revoke(key_id: int) -> None:
    """Revoke a key, effective with the next request."""

    def job(tx: Transaction) -> dict[str, object]:
        return shown_key(stored_keys.revoke(tx.conn, key_id, tx.now))

    ask_or_write(settings(), "DELETE", f"/admin/keys/{key_id}", None, job)
    say(f"key {key_id} is revoked")
