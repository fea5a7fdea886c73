"""The user ids of an app's identity sources, kept apart by namespaces. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.errors import NotAuthenticated
from gateway.user_ids import is_id


@dataclass(frozen=True, slots=True)
class UserIdMapping:
    """The ids of one source, with `namespace` in front. Ids without a namespace must not start with one of `others`,
    or a user of this source could take the id of a user of another (T31)."""

    namespace: str = ""
    others: tuple[str, ...] = ()

    def of(self, value: object, code: str = "malformed_token") -> str:
        """The app's id for a user id of this source. Raises `NotAuthenticated`."""
        if not is_id(value):
            raise NotAuthenticated("the credential names no user", code=code)
        if self.namespace:
            value = f"{self.namespace}:{value}"
            if not is_id(value):
                raise NotAuthenticated("the credential names no user", code=code)
        elif any(value.startswith(f"{other}:") for other in self.others):
            raise NotAuthenticated("this user's id is kept for others", code="reserved_user_id")
        return value
