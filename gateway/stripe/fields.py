"""Fields of Stripe's objects, read whatever their type turns out to be. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.errors import UpstreamFailed

Raw = Mapping[str, Any]
StripeObject = dict[str, Any]


def required_text(raw: Raw, key: str, kind: str) -> str:
    """A field without which an object of this kind is useless. Raises `UpstreamFailed`."""
    value = raw.get(key)
    if not isinstance(value, str) or not value:
        raise UpstreamFailed(f"Stripe answered a {kind} without {key}.")
    return value


def optional_text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def reference_id(value: Any) -> str | None:
    """The id of a reference, whether expanded or not."""
    if isinstance(value, Mapping):
        value = value.get("id")
    return value if isinstance(value, str) and value else None


def list_items(value: Any) -> list[Any]:
    """A list's objects. Raises `UpstreamFailed` for a partial list: the rest may decide the tier."""
    if not isinstance(value, Mapping):
        return []
    if value.get("has_more"):
        raise UpstreamFailed("Stripe answered a part of a list.", detail=str(value.get("url"))[:200])
    data = value.get("data")
    return data if isinstance(data, list) else []


def instant(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def amount(value: Any) -> int:
    """Minor units; 0 for what is no number."""
    return value if isinstance(value, int) else 0
