"""The tags: the headers that name user and tier to an app. Pure."""

from __future__ import annotations

import re
from urllib.parse import quote

from gateway.catalog.model import Tier

# `%` itself is encoded, or the users "a%0A" and "a\n" would be the same to the app (T1, T31).
_SAFE = "!\"#$&'()*+,/:;<=>?@[\\]^`{|}~"
_PLAIN = re.compile(r"[A-Za-z0-9_.@:+-]+")


def encode(text: str) -> bytes:
    """Visible ASCII unchanged; anything else, and `%`, percent-encoded as UTF-8."""
    if _PLAIN.fullmatch(text):
        return text.encode("ascii")
    return quote(text, safe=_SAFE).encode("ascii")


def tier_block(app_id: str, tier: Tier) -> bytes:
    """The header lines that all users of a tier share. X-SK-Features is empty, not absent, where there are none."""
    features = b",".join(encode(feature).replace(b",", b"%2C") for feature in tier.features)
    return (
        b"X-SK-App: " + encode(app_id) + b"\r\nX-SK-Tier: " + encode(tier.tier_id)
        + b"\r\nX-SK-Features: " + features + b"\r\n"
    )  # fmt: skip


def user_line(user_id: str) -> bytes:
    """The header line of one user; anonymous requests have none."""
    return b"X-SK-User: " + encode(user_id) + b"\r\n"
