"""The status of a user as an app sees it: the tier, the reason, its end, limits and features."""

from __future__ import annotations

from dataclasses import asdict

from gateway.billing.installed_apps import InstalledApps
from gateway.billing.work.unit_of_work import UnitOfWork
from gateway.catalog.model import App, Tier
from gateway.errors import StoreUnavailable
from gateway.store import customers, entitlements, inbox, notices, provisioning, refreshes
from gateway.tiers.model import Entitlement, Reason
from gateway.user_ids import check_user_id


async def status(work: UnitOfWork, apps: InstalledApps, app_id: str, user_id: str) -> dict[str, object]:
    """The user's tier; an unknown user has the default tier and nulls. Raises `NotFound` for the app."""
    app = apps.app(app_id)
    check_user_id(user_id)
    stored = await work.read(lambda conn: entitlements.get(conn, app_id, user_id))
    known = await work.read(lambda conn: customers.of_user(conn, app_id, user_id))
    entitlement = stored.entitlement if stored else default_entitlement(app)
    tier = app.tier(entitlement.tier) or app.default_tier
    return {
        "app_id": app_id,
        "user_id": user_id,
        "tier": tier.tier_id,
        "stripe_customer_id": entitlement.customer_id or (known[0].customer_id if known else None),
        "stripe_subscription_id": entitlement.subscription_id,
        "status": entitlement.status,
        "reason": entitlement.reason,
        "source": entitlement.source,
        "until": entitlement.until,
        "then": [{"at": at, "tier": to} for at, to in entitlement.upcoming_changes],
        "ends_at": entitlement.ends_at,
        "period_end": entitlement.period_end_at,
        "renews": entitlement.renews,
        "pending_tier": _pending(entitlement),
        "limits": limits(tier),
        "features": list(tier.features),
    }


def _pending(entitlement: Entitlement) -> dict[str, object] | None:
    """The change of tier that a schedule at Stripe will bring; None if there is none."""
    if entitlement.pending_tier is None:
        return None
    return {"at": entitlement.pending_at, "tier": entitlement.pending_tier}


async def tier_in_store(work: UnitOfWork, app: App, user_id: str | None) -> dict[str, object]:
    """The stored tier of this user with its reason, to compare with the gate's table. `in_store` is None for an unknown
    user or without one; `store_failed`: the store could not be read, which the gate does not depend on.
    """
    found: dict[str, object] = {"in_store": None, "store_failed": False}
    if user_id is None:
        return found
    try:
        stored = await work.read(lambda conn: entitlements.get(conn, app.app_id, user_id))
    except StoreUnavailable:
        return found | {"store_failed": True}
    if stored is None:
        return found
    entitlement = stored.entitlement
    tier = app.tier(entitlement.tier) or app.default_tier
    why = {"reason": entitlement.reason, "source": entitlement.source, "status": entitlement.status}
    return found | {"in_store": {"tier": tier.tier_id, "changed_at": stored.changed_at, **why}}


def default_entitlement(app: App) -> Entitlement:
    """What a user has without a subscription or grant."""
    return Entitlement(tier=app.default_tier.tier_id, reason=Reason.DEFAULT, source="default")


def limits(tier: Tier) -> dict[str, object]:
    """A tier's limits under LiteLLM's names; null is unlimited."""
    values = asdict(tier.limits)
    values["max_budget"] = values.pop("max_budget_usd")
    values["models"] = list(tier.limits.models) if tier.limits.models is not None else None
    return values


async def explain(work: UnitOfWork, apps: InstalledApps, app_id: str, user_id: str) -> dict[str, object]:
    """The status, and the events, changes, provisioning, notices and timers behind it, the newest first."""
    answer = await status(work, apps, app_id, user_id)
    changes = await work.read(lambda conn: entitlements.changes(conn, app_id, user_id, 50))
    events = await work.read(lambda conn: inbox.recent(conn, 50, app_id, user_id))
    job = await work.read(lambda conn: provisioning.get(conn, app_id, user_id))
    answer["changes"] = [
        {"at": each.at, "from": each.from_tier, "to": each.to_tier, "reason": each.reason, "change_id": each.change_id}
        for each in changes
    ]
    answer["events"] = [
        {"received_at": each.received_at, "event_id": each.event_id, "type": each.type, "state": each.state}
        for each in events
    ]
    answer["provisioning"] = [_provisioning(job)] if job else []
    pending = await work.read(lambda conn: refreshes.of_user(conn, app_id, user_id))
    # When the user is refreshed without an event, and why the last attempt failed.
    timers = ("due_at", "timer_at", "attempts", "last_error")
    answer["refresh"] = {name: getattr(pending, name) for name in timers} if pending else None
    answer["concerns"] = await _concerns(work, app_id, user_id)
    sent = await work.read(lambda conn: notices.of_user(conn, app_id, user_id, 50))
    shown = ("change_id", "state", "attempts", "last_status", "error", "due_at", "created_at", "done_at")
    answer["notices"] = [{name: getattr(each, name) for name in shown} for each in sent]
    return answer


def _provisioning(job: provisioning.ProvisioningJob) -> dict[str, object]:
    return {"kind": "litellm"} | {name: getattr(job, name) for name in ("state", "attempts", "error", "answer")}


async def _concerns(work: UnitOfWork, app_id: str, user_id: str) -> list[dict[str, str]]:
    """What the last decision found that needs an operator."""
    stored = await work.read(lambda conn: entitlements.get(conn, app_id, user_id))
    found = stored.entitlement.concerns if stored else ()
    return [{"kind": each.kind, "message": each.message} for each in found]
