"""Small facts of this installation by name: the account it is bound to, the key that signs links, the epoch."""

from __future__ import annotations

from sqlalchemy import Connection, select

from gateway.store.schema import instance
from gateway.store.upsert import insert_or_update


def get(conn: Connection, key: str) -> str | None:
    return conn.execute(select(instance.c.value).where(instance.c.key == key)).scalar_one_or_none()


def put(conn: Connection, key: str, value: str) -> None:
    """Set it; the last word counts."""
    conn.execute(
        insert_or_update(
            conn, instance, ("key",), {"key": key, "value": value}, lambda new: {"value": new.value}
        )
    )  # fmt: skip
