"""`skpay users delete`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

import click

from gateway.app.offline import offline_billing
from gateway.billing.accounts import forget
from gateway.billing.context import Billing
from gateway.cli.environment import settings
from gateway.cli.output import good, say
from gateway.cli.server import NoServerError, ask
from gateway.settings import Settings

_SECONDS = 90.0
"""Stripe and LiteLLM are called one after the other, and each may be slow."""


@click.command("delete")
@click.argument("app_id")
@click.argument("user_id")
@click.option("--yes", is_flag=True, help="Do it; without it nothing is changed.")
def delete(app_id: str, user_id: str, yes: bool) -> None:
    """Delete a user: cancel subscriptions, delete the user at Stripe, LiteLLM and here.

    If it fails half way, run it again: it continues where it stopped.
    """
    found = settings()
    path = f"/admin/users/{quote(app_id, safe='')}/{quote(user_id, safe='')}"
    use_case = forget.forget if yes else forget.traces
    try:
        response: Any = ask(found, "DELETE" if yes else "GET", path, seconds=_SECONDS)
    except NoServerError:
        response = asyncio.run(_run_offline(found, lambda billing: use_case(billing, app_id, user_id)))
    for name, each in _shown(response):
        say(f"  {name}: {each}")
    if yes:
        good(f"{user_id} of {app_id} is deleted")
    else:
        say(f"nothing was changed; do it with: skpay users delete {app_id} {user_id} --yes")


async def _run_offline(found: Settings, use_case: Callable[[Billing], Awaitable[forget.Traces]]) -> dict[str, object]:
    async with offline_billing(found, os.environ) as billing:
        return asdict(await use_case(billing))


def _shown(response: Any) -> list[tuple[str, str]]:
    """What is deleted, one a line."""
    shown = [("subscription to cancel", each) for each in response["subscriptions"]]
    shown += [("Stripe customer", each) for each in response["customers"]]
    shown += [(f"LiteLLM {mode.replace('_', ' ')}", own_id) for mode, own_id in response["litellm"]]
    return [*shown, ("keys", str(response["keys"]))]
