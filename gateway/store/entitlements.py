"""The last decided entitlement of each (app, user), and the history of tier changes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, exists, func, insert, select, tuple_, update

from gateway.store import gate_changes
from gateway.store.gate_changes import ChangeKind
from gateway.store.schema import TIER_IN_USE, customers, entitlements, tier_changes
from gateway.tiers.model import ENDED_STATUSES, Concern, Entitlement, Reason


@dataclass(frozen=True, slots=True)
class Stored:
    """`version` counts the changes that an app can see, from 1. `changed_at` is when the tier last changed."""

    app_id: str
    user_id: str
    entitlement: Entitlement
    version: int
    changed_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class Change:
    """One change of tier. `change_id` never changes. `from_tier` None: nothing was stored before."""

    change_id: str
    app_id: str
    user_id: str
    from_tier: str | None
    to_tier: str
    reason: Reason
    at: int


def get(conn: Connection, app_id: str, user_id: str) -> Stored | None:
    row = conn.execute(
        select(entitlements).where(entitlements.c.app_id == app_id, entitlements.c.user_id == user_id)
    ).one_or_none()
    return None if row is None else _stored(row)


def save(conn: Connection, app_id: str, user_id: str, entitlement: Entitlement, now: int) -> Change | None:
    """Store a decision. Returns the change of tier that was recorded with it, None if the tier is the same.

    A first row with the source "default" is no change: the user had the default tier before. The gate's change log gets
    a new tier and a new instant at which it ends.
    """
    stored = get(conn, app_id, user_id)
    if stored is None or _at_gate(stored.entitlement) != _at_gate(entitlement):
        gate_changes.record(conn, ChangeKind.TIER, app_id, user_id)
    values = _values(entitlement) | {"updated_at": now}
    if stored is None:
        new = {"app_id": app_id, "user_id": user_id, "version": 1, "changed_at": now}
        conn.execute(insert(entitlements), values | new)
        if entitlement.source == "default":
            return None
        return _record(conn, app_id, user_id, None, entitlement, now)
    tier_changed = stored.entitlement.tier != entitlement.tier
    if _visible(stored.entitlement) != _visible(entitlement):
        values["version"] = stored.version + 1
    if tier_changed:
        values["changed_at"] = now
    conn.execute(
        update(entitlements)
        .where(entitlements.c.app_id == app_id, entitlements.c.user_id == user_id)
        .values(**values)
    )  # fmt: skip
    return _record(conn, app_id, user_id, stored.entitlement.tier, entitlement, now) if tier_changed else None


def page(conn: Connection, app_id: str, after: str, limit: int) -> list[tuple[str, str, int | None]]:
    """The next `limit` (user_id, tier, until_at) after `after`, in byte order. '' starts, an empty list ends."""
    found = conn.execute(
        select(entitlements.c.user_id, entitlements.c.tier, entitlements.c.until_at)
        .where(entitlements.c.app_id == app_id, entitlements.c.user_id > after)
        .order_by(entitlements.c.user_id)
        .limit(limit)
    )
    # The driver's tuples: SQLAlchemy's rows take a second longer per million users, at every start.
    return list(found.cursor.fetchall())


def at_gate(conn: Connection, users: Iterable[tuple[str, str]]) -> dict[tuple[str, str], tuple[str, int | None]]:
    """(app_id, user_id) → (tier, until_at) of those users who have an entitlement; a few hundred users at most."""
    key = tuple_(entitlements.c.app_id, entitlements.c.user_id)
    rows = conn.execute(
        select(entitlements.c.app_id, entitlements.c.user_id, entitlements.c.tier, entitlements.c.until_at).where(
            key.in_(list(users))
        )
    )
    return {(row.app_id, row.user_id): (row.tier, row.until_at) for row in rows}


def ends_of_grants(conn: Connection) -> list[tuple[str, str, int, str]]:
    """(app_id, user_id, until_at, the tier from then on) of everybody who has the tier by a grant with an end, the
    earliest end first."""
    rows = conn.execute(
        select(entitlements.c.app_id, entitlements.c.user_id, entitlements.c.until_at, entitlements.c.changes_to_come)
        .where(entitlements.c.source == "grant", entitlements.c.until_at.is_not(None))
        .order_by(entitlements.c.until_at)
    )
    return [(row.app_id, row.user_id, row.until_at, json.loads(row.changes_to_come)[0][1]) for row in rows]


def changes(conn: Connection, app_id: str, user_id: str, limit: int) -> list[Change]:
    """This user's changes of tier, newest first."""
    rows = conn.execute(
        select(tier_changes)
        .where(tier_changes.c.app_id == app_id, tier_changes.c.user_id == user_id)
        .order_by(tier_changes.c.change_number.desc())
        .limit(limit)
    )
    return [
        Change(row.change_id, row.app_id, row.user_id, row.from_tier, row.to_tier, Reason(row.reason), row.at)
        for row in rows
    ]


def tiers_in_use(conn: Connection) -> dict[tuple[str, str], int]:
    """The number of users of each (app_id, tier) by a subscription or grant, not by default."""
    rows = conn.execute(
        select(entitlements.c.app_id, entitlements.c.tier, func.count().label("users"))
        .where(TIER_IN_USE)
        .group_by(entitlements.c.app_id, entitlements.c.tier)
    )
    return {(row.app_id, row.tier): row.users for row in rows}


def users_of_tier(conn: Connection, app_id: str, tier: str, after: str, limit: int) -> list[str]:
    """The next `limit` user ids of a tier after `after`, in byte order. '' starts, an empty list ends."""
    rows = conn.execute(
        select(entitlements.c.user_id)
        .where(entitlements.c.app_id == app_id, entitlements.c.tier == tier, entitlements.c.user_id > after)
        .order_by(entitlements.c.user_id)
        .limit(limit)
    )
    return list(rows.scalars())


def affected_by_rules(conn: Connection, app_id: str, after: str, limit: int) -> list[str]:
    """The next `limit` user ids after `after`, in byte order, whose tier an edit of apps.json could change.

    These have a grant, a subscription that has not ended, or a customer without a counted subscription, since one may
    count now. An empty list ends.
    """
    customer = exists().where(
        customers.c.app_id == entitlements.c.app_id,
        customers.c.user_id == entitlements.c.user_id,
        customers.c.deleted_at.is_(None),
    )
    rows = conn.execute(
        select(entitlements.c.user_id)
        .where(
            entitlements.c.app_id == app_id,
            entitlements.c.user_id > after,
            (entitlements.c.source == "grant")
            | entitlements.c.status.not_in(ENDED_STATUSES)
            | (entitlements.c.status.is_(None) & customer),
        )
        .order_by(entitlements.c.user_id)
        .limit(limit)
    )
    return list(rows.scalars())


def decided_after(conn: Connection, now: int) -> list[tuple[str, str]]:
    """(app_id, user_id) of each entitlement decided later than `now`, because the clock was set back since."""
    rows = conn.execute(
        select(entitlements.c.app_id, entitlements.c.user_id)
        .where(entitlements.c.updated_at > now)
        .order_by(entitlements.c.app_id, entitlements.c.user_id)
    )
    return [(row.app_id, row.user_id) for row in rows]


def with_concern(conn: Connection, kind: str) -> list[tuple[str, str]]:
    """(app_id, user_id) of each entitlement with a concern of this kind."""
    rows = conn.execute(
        select(entitlements.c.app_id, entitlements.c.user_id).where(
            entitlements.c.concerns.contains(f'"kind": "{kind}"')
        )
    )
    return [(row.app_id, row.user_id) for row in rows]


def _record(
    conn: Connection, app_id: str, user_id: str, from_tier: str | None, entitlement: Entitlement, now: int
) -> Change:
    change = Change(uuid.uuid4().hex, app_id, user_id, from_tier, entitlement.tier, entitlement.reason, now)
    conn.execute(
        insert(tier_changes),
        {
            "change_id": change.change_id,
            "app_id": app_id,
            "user_id": user_id,
            "from_tier": from_tier,
            "to_tier": change.to_tier,
            "reason": change.reason.value,
            "at": now,
        },
    )
    return change


def _at_gate(entitlement: Entitlement) -> tuple[object, ...]:
    """What the gate knows of it."""
    return entitlement.tier, entitlement.until


def _visible(entitlement: Entitlement) -> Entitlement:
    """The part that an app can see: concerns are for the operator."""
    return replace(entitlement, concerns=())


def _values(entitlement: Entitlement) -> dict[str, Any]:
    return {
        "tier": entitlement.tier,
        "reason": entitlement.reason.value,
        "source": entitlement.source,
        "status": entitlement.status,
        "customer_id": entitlement.customer_id,
        "subscription_id": entitlement.subscription_id,
        "price_id": entitlement.price_id,
        "changes_to_come": json.dumps(entitlement.upcoming_changes),
        "until_at": entitlement.until,
        "ends_at": entitlement.ends_at,
        "period_end_at": entitlement.period_end_at,
        "renews": entitlement.renews,
        "pending_tier": entitlement.pending_tier,
        "pending_at": entitlement.pending_at,
        "concerns": json.dumps([asdict(concern) for concern in entitlement.concerns]),
    }


def _stored(row: Row[Any]) -> Stored:
    entitlement = Entitlement(
        tier=row.tier,
        reason=Reason(row.reason),
        source=row.source,
        status=row.status,
        customer_id=row.customer_id,
        subscription_id=row.subscription_id,
        price_id=row.price_id,
        upcoming_changes=tuple((at, tier) for at, tier in json.loads(row.changes_to_come)),
        ends_at=row.ends_at,
        period_end_at=row.period_end_at,
        renews=row.renews,
        pending_tier=row.pending_tier,
        pending_at=row.pending_at,
        concerns=tuple(Concern(**concern) for concern in json.loads(row.concerns)),
    )
    return Stored(row.app_id, row.user_id, entitlement, row.version, row.changed_at, row.updated_at)
