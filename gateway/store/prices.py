"""Every Stripe price that ever belonged to a tier: old subscribers still pay it after its lookup key has moved."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select, text

from gateway.store.columns import OWN_ACCOUNT
from gateway.store.rows import columns_of, record_of
from gateway.store.schema import prices


@dataclass(frozen=True, slots=True)
class KnownPrice:
    """`lookup_key` is the one that resolved to it, None if apps.json names the price id."""

    price_id: str
    app_id: str
    tier: str
    lookup_key: str | None


_RECORD = text(
    "INSERT INTO prices (account, price_id, app_id, tier, lookup_key, seen_at)"
    " VALUES (:account, :price_id, :app_id, :tier, :lookup_key, :now)"
    " ON CONFLICT (account, price_id) DO UPDATE SET app_id = excluded.app_id, tier = excluded.tier,"
    " lookup_key = excluded.lookup_key, seen_at = excluded.seen_at"
)


def record(conn: Connection, price_id: str, app_id: str, tier: str, lookup_key: str | None, now: int) -> None:
    """Record the tier of a price, in place of an earlier one."""
    price = {"account": OWN_ACCOUNT, "price_id": price_id, "app_id": app_id, "tier": tier, "lookup_key": lookup_key}
    conn.execute(_RECORD, price | {"now": now})


def known(conn: Connection) -> dict[str, KnownPrice]:
    """All prices by price_id."""
    rows = conn.execute(select(*columns_of(prices, KnownPrice)).where(prices.c.account == OWN_ACCOUNT))
    return {row.price_id: record_of(KnownPrice, row) for row in rows}
