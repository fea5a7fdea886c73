"""`skpay database`: backups."""

from __future__ import annotations

import time
from pathlib import Path

import click
from sqlalchemy import Connection

from gateway.billing.accounts.recovery import mark_restored
from gateway.billing.work.transaction import Transaction
from gateway.cli.environment import settings
from gateway.cli.output import good, say
from gateway.cli.server import alone
from gateway.errors import InvalidInput
from gateway.store.engine import backup as files
from gateway.store.engine.backup import sqlite_file

_file = click.argument("file", required=False, type=click.Path(path_type=Path))


@click.command()
@_file
def backup(file: Path | None) -> None:
    """Write a copy of the database to FILE; a server may run.

    Without FILE: beside the database, with the time in its name. Keep it as safe as the secrets.
    """
    database = sqlite_file(settings().database_url)
    if database is None:
        raise InvalidInput("The database is on a PostgreSQL server: back it up with pg_dump --format=custom.")
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    target = file or database.with_name(f"{database.stem}-{stamp}.backup")
    size = files.back_up(database, target.absolute())
    good(f"{target}: {size} bytes, checked")


@click.command()
@_file
def restore(file: Path | None) -> None:
    """Replace the database by a backup, while no server runs.

    The old database is kept beside it. The backup's waiting provisioning jobs and notices are dropped, and the next
    start looks up every user at Stripe before /ready reports ready. With PostgreSQL: run pg_restore first, then this
    without FILE.
    """
    found, now = settings(), int(time.time())
    if sqlite_file(found.database_url) is None:
        if file is not None:
            raise InvalidInput(
                "The database is on a PostgreSQL server: run pg_restore first, then: skpay database restore"
            )
        good(f"marked as restored; {alone(found, mark_restored)} user(s) will be looked up at Stripe")
        return
    if file is None:
        raise InvalidInput("Name the backup: skpay database restore FILE")
    counted: list[int] = []

    def prepare(conn: Connection) -> None:
        counted.append(mark_restored(Transaction(conn, now)))

    kept = files.restore(found.database_url, file.absolute(), prepare, now)
    good(f"restored from {file}; {counted[0]} user(s) will be looked up at Stripe by the next start")
    if kept is not None:
        say(f"the old database is kept as {kept}")
    say("keys revoked and users deleted since the backup are back: revoke and delete them again")
