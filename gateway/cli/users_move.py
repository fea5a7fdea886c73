"""`skpay users move`: a user's id in the app changed."""

from __future__ import annotations

import asyncio
import os
from dataclasses import asdict
from typing import Any

import click

from gateway.app.offline import offline_billing
from gateway.billing.accounts.move_user import move as move_user
from gateway.cli.environment import settings
from gateway.cli.output import good, say
from gateway.cli.server import NoServerError, ask
from gateway.settings import Settings

_SECONDS = 90.0
"""Stripe is called once for each customer."""


@click.command()
@click.argument("app_id", metavar="APP")
@click.argument("from_user_id", metavar="FROM")
@click.argument("to_user_id", metavar="TO")
def move(app_id: str, from_user_id: str, to_user_id: str) -> None:
    """Move customer, keys, grants, tier and limits to another user id; refused if both pay.

    If it fails half way, run it again. LiteLLM cannot rename a user: the new id gets the limits of the tier, the old
    one those of the first tier, and virtual keys created in LiteLLM stay with the old id.
    """
    found = settings()
    body = {"app_id": app_id, "from_user_id": from_user_id, "to_user_id": to_user_id}
    try:
        moved: Any = ask(found, "POST", "/admin/users/move", body, seconds=_SECONDS)
    except NoServerError:
        moved = asyncio.run(_run_offline(found, app_id, from_user_id, to_user_id))
    for customer_id in moved["customers"]:
        say(f"  Stripe customer: {customer_id}")
    say(f"  keys: {moved['keys']}")
    good(f"{from_user_id} of {app_id} is {to_user_id} now, with the tier {moved['tier']}")


async def _run_offline(found: Settings, app_id: str, from_user_id: str, to_user_id: str) -> dict[str, object]:
    async with offline_billing(found, os.environ) as billing:
        return asdict(await move_user(billing, app_id, from_user_id, to_user_id))
