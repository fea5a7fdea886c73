"""Tiers that an operator has granted."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection

from gateway.errors import NotFound
from gateway.store import grants
from gateway.tiers.model import Grant


def test_a_grant_is_in_force_until_its_end(conn: Connection) -> None:
    without_end = grants.add(conn, "skai", "u1", "sovereign", "family", None, 100)
    with_end = grants.add(conn, "skai", "u1", "pro", "sorry", 200, 100)
    both = [Grant(without_end, "sovereign", "family", None), Grant(with_end, "pro", "sorry", 200)]
    assert grants.live(conn, "skai", "u1", 199) == both
    assert grants.live(conn, "skai", "u1", 200) == both[:1]
    assert grants.live(conn, "skai", "u2", 100) == []
    assert grants.live(conn, "other", "u1", 100) == []


def test_a_revoked_grant_is_not_in_force_but_listed(conn: Connection) -> None:
    grant_id = grants.add(conn, "skai", "u1", "pro", "sorry", None, 100)
    revoked = grants.revoke(conn, grant_id, 150)
    assert (revoked.app_id, revoked.user_id, revoked.revoked_at) == ("skai", "u1", 150)
    assert grants.revoke(conn, grant_id, 160).revoked_at == 150
    assert grants.live(conn, "skai", "u1", 151) == []
    assert grants.of_user(conn, "skai", "u1") == [revoked]


def test_revoking_an_unknown_id_raises_not_found(conn: Connection) -> None:
    with pytest.raises(NotFound):
        grants.revoke(conn, 123456, 150)


def test_all_live_grants_of_a_user_are_revoked_at_once(conn: Connection) -> None:
    expired = grants.add(conn, "skai", "u1", "pro", "expired", 110, 100)
    for reason in ("one", "two"):
        grants.add(conn, "skai", "u1", "pro", reason, None, 100)
    kept = grants.add(conn, "skai", "u2", "pro", "kept", None, 100)
    assert grants.revoke_all(conn, "skai", "u1", 150) == 2
    assert grants.revoke_all(conn, "skai", "u1", 151) == 0
    assert grants.live(conn, "skai", "u1", 150) == []
    assert [grant.grant_id for grant in grants.live(conn, "skai", "u2", 150)] == [kept]
    assert [given.revoked_at for given in grants.of_user(conn, "skai", "u1") if given.grant.grant_id == expired] == [
        None
    ]
