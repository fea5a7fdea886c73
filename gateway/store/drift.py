"""Customers and entitlements for reconcile, in pages so that memory does not grow with their number."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, select
from sqlalchemy.sql.selectable import Select

from gateway.store.columns import OWN_ACCOUNT
from gateway.store.schema import customers, entitlements
from gateway.tiers.model import Entitlement, Reason


@dataclass(frozen=True, slots=True)
class StoredCustomer:
    """A customer with the entitlement of its user, None if none is stored.

    The entitlement is without its concerns; `concerned` says whether it has any.
    """

    customer_id: str
    app_id: str
    user_id: str
    entitlement: Entitlement | None
    concerned: bool = False


_OWNED = (entitlements.c.app_id == customers.c.app_id) & (entitlements.c.user_id == customers.c.user_id)
_KNOWN = (
    select(
        customers.c.customer_id,
        customers.c.app_id,
        customers.c.user_id,
        entitlements.c.tier,
        entitlements.c.reason,
        entitlements.c.source,
        entitlements.c.status,
        entitlements.c.customer_id.label("decided_customer_id"),
        entitlements.c.subscription_id,
        entitlements.c.price_id,
        entitlements.c.changes_to_come,
        entitlements.c.ends_at,
        entitlements.c.concerns,
    )
    .select_from(customers.outerjoin(entitlements, _OWNED))
    .where(customers.c.account == OWN_ACCOUNT)
)


def of_customers(conn: Connection, customer_ids: Sequence[str]) -> dict[str, StoredCustomer]:
    """The known ones of these customers by customer id, including deleted ones."""
    return _by_id(conn, _KNOWN.where(customers.c.customer_id.in_(customer_ids)))


def known_after(conn: Connection, after: str, limit: int) -> dict[str, StoredCustomer]:
    """The next `limit` customers after `after`, in byte order, deleted ones too. '' starts, an empty dict ends."""
    return _by_id(conn, _KNOWN.where(customers.c.customer_id > after).order_by(customers.c.customer_id).limit(limit))


def count_customers(conn: Connection) -> int:
    return conn.execute(select(func.count()).select_from(customers)).scalar_one()


def count_payers(conn: Connection, app_id: str | None) -> int:
    """The number of users with a tier by a subscription, of one app if given."""
    query = select(func.count()).select_from(entitlements).where(entitlements.c.source == "subscription")
    if app_id is not None:
        query = query.where(entitlements.c.app_id == app_id)
    return conn.execute(query).scalar_one()


def entitled_after(conn: Connection, app_id: str, after: str, limit: int) -> list[tuple[str, str]]:
    """The next `limit` (user id, tier) of an app after `after`, in byte order. '' starts, an empty list ends."""
    rows = conn.execute(
        select(entitlements.c.user_id, entitlements.c.tier)
        .where(entitlements.c.app_id == app_id, entitlements.c.user_id > after)
        .order_by(entitlements.c.user_id)
        .limit(limit)
    )
    return [(row.user_id, row.tier) for row in rows]


def _by_id(conn: Connection, query: Select[Any]) -> dict[str, StoredCustomer]:
    return {row.customer_id: _stored_customer(row) for row in conn.execute(query)}


def _stored_customer(row: Row[Any]) -> StoredCustomer:
    if row.tier is None:
        return StoredCustomer(row.customer_id, row.app_id, row.user_id, None)
    entitlement = Entitlement(
        tier=row.tier,
        reason=Reason(row.reason),
        source=row.source,
        status=row.status,
        customer_id=row.decided_customer_id,
        subscription_id=row.subscription_id,
        price_id=row.price_id,
        upcoming_changes=tuple((at, tier) for at, tier in json.loads(row.changes_to_come)),
        ends_at=row.ends_at,
    )
    return StoredCustomer(row.customer_id, row.app_id, row.user_id, entitlement, concerned=row.concerns != "[]")
