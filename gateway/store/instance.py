"""Named values of this installation: the account it is bound to, the key that signs links, the epoch."""

from __future__ import annotations

from sqlalchemy import Connection, select, text

from gateway.store.schema import instance

_PUT = text(
    "INSERT INTO instance (key, value) VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)


def get(conn: Connection, key: str) -> str | None:
    return conn.execute(select(instance.c.value).where(instance.c.key == key)).scalar_one_or_none()


def put(conn: Connection, key: str, value: str) -> None:
    """Set or replace a value."""
    conn.execute(_PUT, {"key": key, "value": value})
