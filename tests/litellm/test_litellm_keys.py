"""Whose a virtual key is, by LiteLLM's row of it."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.litellm.keys import KeyHolder, holder

NOW = 1_795_384_200  # 2026-11-22 21:50:00 UTC


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"user_id": "alice"}, KeyHolder("alice", None)),  # 1.80 has no status
        ({"user_id": "alice", "status": "active", "blocked": None, "expires": None}, KeyHolder("alice", None)),
        ({"user_id": "alice", "blocked": False, "deleted_at": None}, KeyHolder("alice", None)),
        ({"user_id": "alice", "expires": "2026-11-22T21:51:00.500000+00:00"}, KeyHolder("alice", NOW + 60)),
        ({"user_id": "alice", "expires": "2026-11-22T21:51:00Z"}, KeyHolder("alice", NOW + 60)),
        ({"user_id": "alice", "expires": "2026-11-22T21:51:00"}, KeyHolder("alice", NOW + 60)),
        ({"user_id": "alice", "expires": "2026-11-22T21:50:00Z"}, None),
        ({"user_id": "alice", "expires": "soon"}, None),
        ({"user_id": "alice", "expires": 7}, None),
        ({"user_id": "alice", "blocked": True}, None),
        ({"user_id": "alice", "status": "revoked"}, None),
        ({"user_id": "alice", "status": "expired"}, None),
        ({"user_id": "alice", "status": "deleted"}, None),
        ({"user_id": "alice", "status": "something new"}, None),
        ({"user_id": "alice", "deleted_at": "2026-11-22T21:40:00Z"}, None),
        ({"user_id": None, "status": "active"}, None),
        ({"user_id": 7}, None),
        ({}, None),
    ],
)
def test_the_holder_of_a_key_that_works(info: dict[str, Any], expected: KeyHolder | None) -> None:
    assert holder(info, NOW) == expected
