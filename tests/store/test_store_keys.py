"""API keys as hashes."""

from __future__ import annotations

import hashlib

import pytest
from sqlalchemy import Connection

from gateway.errors import Conflict, NotFound
from gateway.store import keys
from gateway.store.keys import Key


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _app_key(conn: Connection, name: str, app_id: str = "skai") -> Key:
    return keys.add(conn, "app", _hash(app_id + name), app_id, None, name, 100)


def test_keys_are_live_until_revoked(conn: Connection) -> None:
    first = _app_key(conn, "first")
    assert (first.kind, first.key_hash, first.app_id, first.user_id, first.name, first.created_at) == (
        "app", _hash("skaifirst"), "skai", None, "first", 100,
    )  # fmt: skip
    mine = keys.add(conn, "user", _hash("u1"), "skai", "u1", "laptop", 100)
    assert keys.live(conn) == [first, mine]
    revoked = keys.revoke(conn, first.key_id, 200)
    assert revoked.revoked_at == 200
    assert keys.revoke(conn, first.key_id, 300).revoked_at == 200
    assert keys.live(conn) == [mine]
    assert keys.all_(conn) == [revoked, mine]


def test_an_app_has_two_live_keys_at_most(conn: Connection) -> None:
    first = _app_key(conn, "first")
    _app_key(conn, "second")
    with pytest.raises(Conflict):
        _app_key(conn, "third")
    _app_key(conn, "first", app_id="other")
    keys.add(conn, "user", _hash("u1"), "skai", "u1", "laptop", 100)
    keys.revoke(conn, first.key_id, 200)
    _app_key(conn, "third")
    assert [key.name for key in keys.all_(conn, "skai")] == ["first", "second", "laptop", "third"]
    assert [key.name for key in keys.all_(conn, "other")] == ["first"]


def test_a_user_may_have_many_keys(conn: Connection) -> None:
    for number in range(5):
        keys.add(conn, "user", _hash(str(number)), "skai", "u1", "", 100)
    assert len(keys.live(conn)) == 5


def test_one_hash_is_one_key_even_after_it_was_revoked(conn: Connection) -> None:
    key = _app_key(conn, "first")
    with pytest.raises(Conflict):
        keys.add(conn, "user", key.key_hash, "other", "u1", "", 100)
    keys.revoke(conn, key.key_id, 200)
    with pytest.raises(Conflict):
        keys.add(conn, "user", key.key_hash, "other", "u1", "", 100)


def test_revoking_an_unknown_id_raises_not_found(conn: Connection) -> None:
    with pytest.raises(NotFound):
        keys.revoke(conn, 123456, 200)
