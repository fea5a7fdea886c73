"""`skpay account`: the Stripe account that the database belongs to."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from gateway.billing.accounts.account import binding, mode_of
from gateway.billing.accounts.account_move import AccountMoveResult, move_account
from gateway.billing.work.transaction import Transaction
from gateway.cli.environment import settings
from gateway.cli.output import as_json, good, json_option, say
from gateway.cli.server import alone, ask_or_write
from gateway.settings import Settings


@click.command("show")
@json_option
def show(wants_json: bool) -> None:
    """Show the account and mode of the database, and the mode of the key."""
    found = settings()

    def job(tx: Transaction) -> dict[str, object]:
        bound = binding(tx.conn)
        newest = None if bound.newest is None else bound.newest.customer_id
        return asdict(bound) | {"newest_customer": newest, "key_mode": _key_mode(found), "wrong_account": False}

    response: Any = ask_or_write(found, "GET", "/admin/account", None, job)
    if wants_json:
        as_json(response)
        return
    say(f"database: {response['account'] or 'account not known'}, {response['mode'] or 'not bound yet'}")
    say(f"newest customer: {response['newest_customer'] or 'none'}")
    say(f"key: {response['key_mode']}{', of ANOTHER account' if response['wrong_account'] else ''}")


def _key_mode(found: Settings) -> str:
    return mode_of("_live_" in found.stripe_secret_key[0].reveal())


class _DryRunError(Exception):
    """Ends a dry run's transaction, so that it is not committed, and carries its result."""

    def __init__(self, moved: AccountMoveResult) -> None:
        self.moved = moved


@click.command("move")
@click.option("--yes", is_flag=True, help="Do it; without it nothing is changed.")
def move(yes: bool) -> None:
    """Delete the data of one Stripe account; the next start binds the database to the key's account.

    For going from test to live mode. Stripe customers, checkouts, prices, portals and tiers by subscription are
    deleted; grants, keys and LiteLLM ids stay. Only while no server runs.
    """

    def job(tx: Transaction) -> AccountMoveResult:
        moved = move_account(tx)
        if not yes:
            raise _DryRunError(moved)
        return moved

    try:
        moved = alone(settings(), job)
    except _DryRunError as dry:
        moved = dry.moved
    was = f"{moved.bound.account or 'account not known'}, {moved.bound.mode or 'not bound'}"
    counts = ", ".join(f"{count} {name}" for name, count in moved.forgotten.items())
    say(f"bound to: {was}")
    if not yes:
        say(f"would forget: {counts}; {moved.users} user(s) would lose what that account gave them")
        say("nothing was changed; do it with: skpay account move --yes")
        return
    good(f"forgotten: {counts}; {moved.users} user(s) are looked up anew by the next start")
