"""Forgotten users and customers, as hashes: a late event or an open session must not create them again."""

from __future__ import annotations

import hashlib

from sqlalchemy import Connection, select, text

from gateway.store.schema import tombstones

_PUT = text(
    "INSERT INTO tombstones (digest, forgotten_at) VALUES (:digest, :now)"
    " ON CONFLICT (digest) DO UPDATE SET forgotten_at = excluded.forgotten_at"
)


def put_user(conn: Connection, app_id: str, user_id: str, now: int) -> None:
    """Record that this user was forgotten; a later time replaces an earlier one."""
    conn.execute(_PUT, {"digest": _digest("user", app_id, user_id), "now": now})


def put_customer(conn: Connection, customer_id: str, now: int) -> None:
    """Record that this Stripe customer belonged to a forgotten user."""
    conn.execute(_PUT, {"digest": _digest("customer", customer_id), "now": now})


def user_forgotten_at(conn: Connection, app_id: str, user_id: str) -> int | None:
    """When this user was last forgotten, None if never."""
    return _at(conn, _digest("user", app_id, user_id))


def is_forgotten_customer(conn: Connection, customer_id: str) -> bool:
    """Whether this customer belonged to a forgotten user and must not be adopted."""
    return _at(conn, _digest("customer", customer_id)) is not None


def _at(conn: Connection, digest: bytes) -> int | None:
    return conn.execute(
        select(tombstones.c.forgotten_at).where(tombstones.c.digest == digest)
    ).scalar_one_or_none()  # fmt: skip


def _digest(*parts: str) -> bytes:
    """Each part is hashed with its length, so that different lists of parts never have the same digest."""
    return hashlib.sha256(b"".join(b"%d:%s" % (len(raw), raw) for raw in map(str.encode, parts))).digest()
