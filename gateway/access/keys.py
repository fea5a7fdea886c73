"""Our own user keys: `skp_…`, kept as hashes. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple


class KeyOwner(NamedTuple):
    """Whose key it is: a key of one app is nothing to another."""

    app_id: str
    user_id: str


UserKeys = Mapping[str, KeyOwner]
"""`key_hash(key)` → owner. Live: a revoked key is taken out, and refused by the next request."""


def key_hash(key: str) -> str:
    """SHA-256 in hex: keys are long and random, so nothing slower is needed."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
