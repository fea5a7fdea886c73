"""After an edit of apps.json, refresh the users that it may give another tier."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from functools import partial

from gateway.billing.installed_apps import InstalledApps
from gateway.billing.work.transaction import Transaction
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.catalog.model import App
from gateway.store import entitlements, instance

PAGE = 500
RULES_VERSION = 2
"""Incremented when a release decides by other rules, so that an upgrade refreshes every user."""


async def rederive(work: UnitOfWork, apps: InstalledApps) -> int:
    """Request a refresh of every user of each app with rules changed since the last call; returns how many.

    Called at start too, for edits made while no server ran. The new rules are recorded after the last request, so an
    interrupted call is repeated.
    """
    requested = 0
    for app in apps.catalog.apps.values():
        key, rules = f"rules:{app.app_id}", rules_digest(app)
        if await work.read(partial(instance.get, key=key)) == rules:
            continue
        after = ""
        while users := await work.read(
            partial(entitlements.affected_by_rules, app_id=app.app_id, after=after, limit=PAGE)
        ):
            await work.write(partial(_want_all, app_id=app.app_id, user_ids=users))
            requested, after = requested + len(users), users[-1]
        await work.store.write(partial(instance.put, key=key, value=rules))
    return requested


def rules_digest(app: App) -> str:
    """A digest of everything in an app that a decision depends on: not of limits, hosts or routes."""
    tiers = [[tier.tier_id, tier.was, [asdict(price) for price in tier.prices]] for tier in app.tiers]
    others = [asdict(price) for price in app.other_prices]
    rules = [RULES_VERSION, tiers, others, app.grace_seconds, app.on_dispute, app.on_full_refund]
    return hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()


def _want_all(tx: Transaction, *, app_id: str, user_ids: list[str]) -> None:
    for user_id in user_ids:
        tx.want_refresh(app_id, user_id)
