"""The owner of a virtual key, by LiteLLM's row of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """LiteLLM's id of a user, and the second at which their key ends (None: never)."""

    litellm_id: str
    expires_at: int | None


def holder(info: Mapping[str, object], now: float) -> KeyHolder | None:
    """The owner of a key that works now; None for one that is blocked, expired, deleted or has no owner.

    LiteLLM 1.106.2 answers 200 for deleted keys too, out of an archive; older versions have no `status`.
    """
    litellm_id, expires = info.get("user_id"), info.get("expires")
    if not isinstance(litellm_id, str) or info.get("blocked") or info.get("deleted_at"):
        return None
    if info.get("status", "active") != "active":
        return None
    if expires is None:
        return KeyHolder(litellm_id, None)
    try:
        ends = datetime.fromisoformat(str(expires))
    except ValueError:
        return None
    expires_at = int((ends if ends.tzinfo else ends.replace(tzinfo=UTC)).timestamp())
    return KeyHolder(litellm_id, expires_at) if expires_at > now else None
