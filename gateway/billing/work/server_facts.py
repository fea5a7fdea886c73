"""Facts about the running server for `skpay doctor`, which cannot measure them from outside."""

from __future__ import annotations

import shutil
import time
from typing import Any

from sqlalchemy import Connection

from gateway.billing.accounts.account import binding, mode_of
from gateway.billing.checkout.portal import kept_configuration
from gateway.billing.context import Billing
from gateway.catalog.model import App
from gateway.store import entitlements, instance, litellm_ids, provisioning

_KEY = "examined_at"


async def server_facts(billing: Billing) -> dict[str, Any]:
    """Write once to the database and return what is known. Raises `StoreUnavailable` if the write fails.

    `clock_ahead_seconds`: our clock minus Stripe's, None before the first call to Stripe. `portals`: app id → (id,
    digest) of its portal configuration. `provisioned`: for each app the user provisioned last.
    """
    started = time.monotonic()
    await billing.work.store.write(lambda conn: instance.put(conn, _KEY, str(billing.work.now())))
    seconds = time.monotonic() - started
    stored = await billing.work.read(lambda conn: _stored_facts(conn, billing))
    folder = billing.work.store.folder
    usage = shutil.disk_usage(folder) if folder is not None else None
    return {
        "at": billing.work.clock(),
        "started_at": billing.work.started_at,
        "clock_ahead_seconds": billing.stripe.clock_ahead_seconds,
        "write_seconds": round(seconds, 4),
        "disk": None if usage is None else {"folder": str(folder), "free": usage.free, "total": usage.total},
        "catalog": billing.apps.catalog.digest,
        **stored,
    }


def _stored_facts(conn: Connection, billing: Billing) -> dict[str, Any]:
    bound = binding(conn)
    people = (_provisioned(conn, app) for app in billing.apps.catalog.apps.values())
    return {
        "account": bound.account,
        "mode": bound.mode,
        "key_mode": mode_of(billing.stripe.livemode),
        "wrong_account": billing.account.wrong,
        "portals": {app_id: kept_configuration(conn, app_id) for app_id in billing.apps.catalog.apps},
        "provisioned": [each for each in people if each is not None],
    }


def _provisioned(conn: Connection, app: App) -> dict[str, str] | None:
    """None also while a job is waiting: LiteLLM may still have the former limits."""
    if app.litellm is None or app.litellm.shared_users:
        return None
    user_id = litellm_ids.newest(conn, app.app_id, app.litellm.mode)
    if user_id is None:
        return None
    job = provisioning.get(conn, app.app_id, user_id)
    if job is not None and job.state != provisioning.DONE:
        return None
    stored = entitlements.get(conn, app.app_id, user_id)
    tier = (app.tier(stored.entitlement.tier) if stored else None) or app.default_tier
    own_id = app.litellm_id(user_id)
    return {"app_id": app.app_id, "user_id": user_id, "litellm_id": own_id, "tier": tier.tier_id}
