"""API keys of apps and users, as hashes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, func, select, text, update

from gateway.errors import Conflict, NotFound
from gateway.store import gate_changes
from gateway.store.gate_changes import ChangeKind
from gateway.store.rows import columns_of, record_of
from gateway.store.schema import keys

MAX_LIVE_APP_KEYS = 2


@dataclass(frozen=True, slots=True)
class Key:
    """`key_hash` is made by `access.keys.key_hash`. `user_id` is None for the key of an app."""

    key_id: int
    kind: Literal["app", "user"]
    key_hash: bytes
    app_id: str
    user_id: str | None
    name: str
    created_at: int
    revoked_at: int | None


_COLUMNS = columns_of(keys, Key)

_ADD = text(
    "INSERT INTO keys (kind, key_hash, app_id, user_id, name, created_at)"
    " VALUES (:kind, :key_hash, :app_id, :user_id, :name, :now) ON CONFLICT (key_hash) DO NOTHING RETURNING key_id"
)


def add(
    conn: Connection,
    kind: Literal["app", "user"],
    key_hash: bytes,
    app_id: str,
    user_id: str | None,
    name: str,
    now: int,
) -> Key:
    """Record a key. Raises `Conflict` for a third live key of an app, and for a known hash."""
    if kind == "app" and _live_app_keys(conn, app_id) >= MAX_LIVE_APP_KEYS:
        raise Conflict(f'"{app_id}" has {MAX_LIVE_APP_KEYS} live keys already; revoke one first.', code="too_many_keys")
    key = {"kind": kind, "key_hash": key_hash, "app_id": app_id, "user_id": user_id, "name": name, "now": now}
    key_id = conn.execute(_ADD, key).scalar_one_or_none()
    if key_id is None:
        raise Conflict("This key is already known.", code="key_taken")
    gate_changes.record(conn, ChangeKind.KEYS, app_id, user_id or "")
    return Key(key_id, kind, key_hash, app_id, user_id, name, created_at=now, revoked_at=None)


def live(conn: Connection) -> list[Key]:
    """All keys that are not revoked, oldest first."""
    rows = conn.execute(select(*_COLUMNS).where(keys.c.revoked_at.is_(None)).order_by(keys.c.key_id))
    return [record_of(Key, row) for row in rows]


def all_(conn: Connection, app_id: str | None = None) -> list[Key]:
    """All keys of one app or of all apps, including revoked ones, oldest first."""
    query = select(*_COLUMNS).order_by(keys.c.key_id)
    if app_id is not None:
        query = query.where(keys.c.app_id == app_id)
    return [record_of(Key, row) for row in conn.execute(query)]


def revoke(conn: Connection, key_id: int, now: int) -> Key:
    """Revoke a key. Repeating it keeps the first time. Raises `NotFound`."""
    conn.execute(update(keys).where(keys.c.key_id == key_id, keys.c.revoked_at.is_(None)).values(revoked_at=now))
    row = conn.execute(select(*_COLUMNS).where(keys.c.key_id == key_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no key {key_id}.", code="no_such_key")
    key = record_of(Key, row)
    gate_changes.record(conn, ChangeKind.KEYS, key.app_id, key.user_id or "")
    return key


def _live_app_keys(conn: Connection, app_id: str) -> int:
    query = select(func.count()).where(keys.c.kind == "app", keys.c.app_id == app_id, keys.c.revoked_at.is_(None))
    return conn.execute(query).scalar_one()
