"""Moves the rows of one user to another user of the same app."""

from __future__ import annotations

from sqlalchemy import Connection, func, select, update

from gateway.store import gate_changes
from gateway.store.gate_changes import ChangeKind
from gateway.store.schema import customers, disputes, grants, inbox, keys, last_good_tiers

_MOVED = (customers, keys, grants, disputes, last_good_tiers, inbox)
_OF_A_USER = (customers, keys, grants)


def has_rows(conn: Connection, app_id: str, user_id: str) -> bool:
    """Whether this user has a customer, key or grant."""
    for table in _OF_A_USER:
        query = select(func.count()).where(table.c.app_id == app_id, table.c.user_id == user_id)
        if conn.execute(query).scalar_one():
            return True
    return False


def move_rows(conn: Connection, app_id: str, from_user_id: str, to_user_id: str) -> None:
    """Move every customer, key, grant, dispute, last good tier and event of one user to another. Idempotent.

    The entitlement, refresh, provisioning job, notices and checkout belong to the user id and stay.
    """
    for table in _MOVED:
        conn.execute(
            update(table)
            .where(table.c.app_id == app_id, table.c.user_id == from_user_id)
            .values(user_id=to_user_id)
        )  # fmt: skip
    for user_id in (from_user_id, to_user_id):
        gate_changes.record(conn, ChangeKind.KEYS, app_id, user_id)
