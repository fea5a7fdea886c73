"""Everybody we know, in pages: who was given a tier, and who was only seen at the gate."""

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
class Wanted:
    """Which users. `status` is Stripe's, or `NO_STATUS` for people without a subscription; None filters nothing."""

    app_id: str | None = None
    tier: str | None = None
    status: str | None = None


def listed(
    conn: Connection, wanted: Wanted, first_tiers: Mapping[str, str], after: tuple[str, str], limit: int
) -> list[dict[str, Any]]:
    """The next `limit` users behind `after` (app_id, user_id), in byte order; ('', '') starts, an empty list ends.

    `first_tiers`: the tier of each app for whom nothing was ever decided.
    """
    found = _decided(conn, wanted, after, limit) + _only_seen(conn, wanted, first_tiers, after, limit)
    return sorted(found, key=lambda each: (each["app_id"].encode(), each["user_id"].encode()))[:limit]


def is_known(conn: Connection, app_id: str, user_id: str) -> bool:
    """Whether anything of this user is here: a tier, a Stripe customer, a grant, or having been seen at the gate."""
    places = (entitlements, customers, grants, provisioning)
    found = (exists().where(each.c.app_id == app_id, each.c.user_id == user_id) for each in places)
    return bool(conn.execute(select(or_(*found))).scalar())


def _decided(conn: Connection, wanted: Wanted, after: tuple[str, str], limit: int) -> list[dict[str, Any]]:
    row = entitlements.c
    where = _behind(entitlements, wanted, after)
    where += [row.tier == wanted.tier] if wanted.tier is not None else []
    if wanted.status is not None:
        where.append(row.status.is_(None) if wanted.status == NO_STATUS else row.status == wanted.status)
    columns = [row[name] for name in _COLUMNS]
    rows = conn.execute(select(*columns).where(*where).order_by(row.app_id, row.user_id).limit(limit))
    return [dict(each) for each in rows.mappings()]


def _only_seen(
    conn: Connection, wanted: Wanted, first_tiers: Mapping[str, str], after: tuple[str, str], limit: int
) -> list[dict[str, Any]]:
    if wanted.status not in (None, NO_STATUS):
        return []
    row, known = provisioning.c, entitlements.c
    where = _behind(provisioning, wanted, after)
    where.append(~exists().where(known.app_id == row.app_id, known.user_id == row.user_id))
    if wanted.tier is not None:
        where.append(row.app_id.in_([app_id for app_id, tier in first_tiers.items() if tier == wanted.tier]))
    ids = select(row.app_id, row.user_id).where(*where).distinct().order_by(row.app_id, row.user_id).limit(limit)
    nothing = dict.fromkeys(_COLUMNS)
    return [
        {**nothing, **each, "tier": first_tiers.get(each["app_id"]), "reason": "default", "source": "default"}
        for each in conn.execute(ids).mappings()
    ]  # fmt: skip


def _behind(table: FromClause, wanted: Wanted, after: tuple[str, str]) -> list[ColumnElement[bool]]:
    where: list[ColumnElement[bool]] = [
        tuple_(table.c.app_id, table.c.user_id) > tuple_(literal(after[0]), literal(after[1]))
    ]
    return where + ([table.c.app_id == wanted.app_id] if wanted.app_id is not None else [])
