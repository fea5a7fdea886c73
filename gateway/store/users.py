"""All known users in pages: with an entitlement, or only with a provisioning job since they were first seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, exists, literal, or_, select, tuple_

from gateway.store.schema import customers, entitlements, grants, provisioning

NO_STATUS = "none"
_COLUMNS = (
    "app_id", "user_id", "tier", "reason", "source", "status", "customer_id", "subscription_id", "until_at", "ends_at",
    "changed_at",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class UserFilter:
    """`status` is Stripe's, or `NO_STATUS` for users without a subscription. None does not filter."""

    app_id: str | None = None
    tier: str | None = None
    status: str | None = None


def page(
    conn: Connection, filter_: UserFilter, default_tiers: Mapping[str, str], after: tuple[str, str], limit: int
) -> list[dict[str, Any]]:
    """The next `limit` users after `after` (app_id, user_id), in byte order. ('', '') starts, an empty list ends.

    `default_tiers`: app id → the tier of its users without an entitlement.
    """
    found = _with_entitlement(conn, filter_, after, limit) + _without_entitlement(
        conn, filter_, default_tiers, after, limit
    )
    return sorted(found, key=lambda each: (each["app_id"].encode(), each["user_id"].encode()))[:limit]


def is_known(conn: Connection, app_id: str, user_id: str) -> bool:
    """Whether this user has an entitlement, a Stripe customer, a grant or a provisioning job."""
    tables = (entitlements, customers, grants, provisioning)
    found = (exists().where(each.c.app_id == app_id, each.c.user_id == user_id) for each in tables)
    return bool(conn.execute(select(or_(*found))).scalar())


def _with_entitlement(
    conn: Connection, filter_: UserFilter, after: tuple[str, str], limit: int
) -> list[dict[str, Any]]:
    row = entitlements.c
    where = _after(entitlements, filter_, after)
    where += [row.tier == filter_.tier] if filter_.tier is not None else []
    if filter_.status is not None:
        where.append(row.status.is_(None) if filter_.status == NO_STATUS else row.status == filter_.status)
    columns = [row[name] for name in _COLUMNS]
    rows = conn.execute(select(*columns).where(*where).order_by(row.app_id, row.user_id).limit(limit))
    return [dict(each) for each in rows.mappings()]


def _without_entitlement(
    conn: Connection, filter_: UserFilter, default_tiers: Mapping[str, str], after: tuple[str, str], limit: int
) -> list[dict[str, Any]]:
    if filter_.status not in (None, NO_STATUS):
        return []
    row, known = provisioning.c, entitlements.c
    where = _after(provisioning, filter_, after)
    where.append(~exists().where(known.app_id == row.app_id, known.user_id == row.user_id))
    if filter_.tier is not None:
        where.append(row.app_id.in_([app_id for app_id, tier in default_tiers.items() if tier == filter_.tier]))
    ids = select(row.app_id, row.user_id).where(*where).distinct().order_by(row.app_id, row.user_id).limit(limit)
    nothing = dict.fromkeys(_COLUMNS)
    return [
        {**nothing, **each, "tier": default_tiers.get(each["app_id"]), "reason": "default", "source": "default"}
        for each in conn.execute(ids).mappings()
    ]  # fmt: skip


def _after(table: FromClause, filter_: UserFilter, after: tuple[str, str]) -> list[ColumnElement[bool]]:
    where: list[ColumnElement[bool]] = [
        tuple_(table.c.app_id, table.c.user_id) > tuple_(literal(after[0]), literal(after[1]))
    ]
    return where + ([table.c.app_id == filter_.app_id] if filter_.app_id is not None else [])
