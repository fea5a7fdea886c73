"""After an edit of apps.json: whoever it may have moved is looked up again, without waiting for news."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from functools import partial

from gateway.billing.context import Billing
from gateway.billing.work.transaction import Transaction
from gateway.catalog.model import App
from gateway.store import entitlements, instance

PAGE = 500
RULES_VERSION = 2
"""Raised by one where this program decides by other rules than before, so that an upgrade reaches everybody."""


async def rederive(billing: Billing) -> int:
    """Ask for a refresh of every user whose app decides by other rules than when this was last done; how many.

    Done at start too, for edits made while nothing ran. The rules count as followed once everybody is asked for.
    """
    wanted = 0
    for app in billing.catalog.apps.values():
        key, rules = f"rules:{app.app_id}", rules_digest(app)
        if await billing.store.read(partial(instance.get, key=key)) == rules:
            continue
        after = ""
        while users := await billing.store.read(
            partial(entitlements.affected_by_rules, app_id=app.app_id, after=after, limit=PAGE)
        ):
            await billing.write(partial(_want_all, app_id=app.app_id, user_ids=users))
            wanted, after = wanted + len(users), users[-1]
        await billing.store.write(partial(instance.put, key=key, value=rules))
    return wanted


def rules_digest(app: App) -> str:
    """Changes with whatever of an app a decision depends on: not with limits, hosts or routes."""
    tiers = [[tier.tier_id, tier.was, [asdict(price) for price in tier.prices]] for tier in app.tiers]
    others = [asdict(price) for price in app.other_prices]
    rules = [RULES_VERSION, tiers, others, app.grace_seconds, app.on_dispute, app.on_full_refund]
    return hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()


def _want_all(tx: Transaction, *, app_id: str, user_ids: list[str]) -> None:
    for user_id in user_ids:
        tx.want_refresh(app_id, user_id)
