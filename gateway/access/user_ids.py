"""Ids of users: what one may look like, and how those of several sources are kept apart. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.errors import NotAuthenticated

MAX_USER_ID = 200


def is_user_id(value: object) -> bool:
    """1 to 200 printable characters."""
    return isinstance(value, str) and 0 < len(value) <= MAX_USER_ID and value.isprintable()


@dataclass(frozen=True, slots=True)
class UserIdMapping:
    """The ids of one source. `namespace` goes before them; the app's own ("") must not start like one of `others`,
    or a user could be named into another source's (T31)."""

    namespace: str = ""
    others: tuple[str, ...] = ()

    def of(self, value: object, code: str = "malformed_token") -> str:
        """The app's id for what this source calls somebody. Raises `NotAuthenticated`."""
        if not isinstance(value, str) or not is_user_id(value):
            raise NotAuthenticated("the credential names no user", code=code)
        if self.namespace:
            value = f"{self.namespace}:{value}"
            if len(value) > MAX_USER_ID:
                raise NotAuthenticated("the credential names no user", code=code)
        elif any(value.startswith(f"{other}:") for other in self.others):
            raise NotAuthenticated("this user's id is kept for others", code="reserved_user_id")
        return value
