"""Which text may be the id of a user. Pure."""

from __future__ import annotations

from typing import TypeGuard

from gateway.errors import InvalidInput

MAX_USER_ID = 200


def is_id(value: object, max_length: int = MAX_USER_ID) -> TypeGuard[str]:
    """Whether it is text of 1 to `max_length` printable characters."""
    return isinstance(value, str) and 1 <= len(value) <= max_length and value.isprintable()


def check_user_id(user_id: str) -> str:
    """Return `user_id` unchanged. Raises `InvalidInput` if it is not one.

    User ids are compared byte for byte. They are never trimmed or case-folded: two users could become one.
    """
    if not is_id(user_id):
        raise InvalidInput(f"user_id: expected 1 to {MAX_USER_ID} printable characters.", code="invalid_user_id")
    return user_id
