"""The last good tier of each subscription: the last tier that it gave by a known price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from sqlalchemy import Connection, delete, insert, select

from gateway.store.columns import OWN_ACCOUNT
from gateway.store.rows import columns_of, record_of
from gateway.store.schema import last_good_tiers
from gateway.tiers.model import LastGoodTier

_COLUMNS = columns_of(last_good_tiers, LastGoodTier)


def of_user(conn: Connection, app_id: str, user_id: str) -> dict[str, LastGoodTier]:
    """Subscription id → its last good tier, for this user's subscriptions that have not ended."""
    rows = conn.execute(
        select(*_COLUMNS)
        .where(last_good_tiers.c.app_id == app_id, last_good_tiers.c.user_id == user_id)
        .order_by(last_good_tiers.c.subscription_id)
    )
    return {row.subscription_id: record_of(LastGoodTier, row) for row in rows}


def replace_all(conn: Connection, app_id: str, user_id: str, last_good: Mapping[str, LastGoodTier], now: int) -> None:
    """Store exactly these for this user. Writes nothing if they are unchanged."""
    stored = of_user(conn, app_id, user_id)
    changed = [each for each in last_good.values() if stored.get(each.subscription_id) != each]
    outdated = [*(each.subscription_id for each in changed), *(stored.keys() - last_good.keys())]
    if outdated:
        conn.execute(
            delete(last_good_tiers).where(
                last_good_tiers.c.account == OWN_ACCOUNT, last_good_tiers.c.subscription_id.in_(outdated)
            )
        )
    if changed:
        owner = {"account": OWN_ACCOUNT, "app_id": app_id, "user_id": user_id, "updated_at": now}
        conn.execute(insert(last_good_tiers), [asdict(each) | owner for each in changed])
