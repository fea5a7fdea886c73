"""API keys of apps (`ska_…`) and users (`skp_…`), of which only hashes are stored. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple


class KeyOwner(NamedTuple):
    """The user of a key, and the one app where it is valid."""

    app_id: str
    user_id: str


UserKeys = Mapping[bytes, KeyOwner]
"""`key_hash(key)` → owner. Live: a revoked key is removed, and refused from the next request on."""


def key_hash(key: str) -> bytes:
    """SHA-256. A slower hash is not needed, because keys have 256 random bits."""
    # Bytes of a header that are not UTF-8 arrive as surrogates: a wrong key, not an internal error.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
