"""The signed upgrade link, valid for ten minutes: the gate signs the user, so nobody can buy as another user. Pure.

`1.<payload>.<mac>`, both base64url; the payload is the JSON list [app_id, user_id, expires_at], followed by
[return_url, tier] if either is not empty.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.access.derived_keys import derived_keys
from gateway.access.jwt import b64url, b64url_decode
from gateway.errors import BadSignature, NotAuthenticated
from gateway.settings import Secrets

LIFETIME_SECONDS = 600
_VERSION = "1"
_MAX_TOKEN = 4096
# Part of the signed data, so that no other signature by the same key is valid as a link.
_PURPOSE = b"skpayments upgrade link 1\x00"
_CHANGE_PURPOSE = b"skpayments change link 1\x00"


def link_keys(gate_secrets: Secrets) -> tuple[bytes, ...]:
    """One key for each GATE_SECRET, newest first: the first signs, all of them verify."""
    return derived_keys(gate_secrets, "upgrade link 2")


@dataclass(frozen=True, slots=True)
class Link:
    """The content of a link. `return_url` is the page where the user got it, "" if unknown; `tier` is the id of the
    tier that page requires or, after the user returned from Stripe, the tier they chose."""

    user_id: str
    expires_at: int
    return_url: str = ""
    tier: str = ""


def sign(
    key: bytes,
    app_id: str,
    user_id: str,
    now: int,
    lifetime_seconds: int = LIFETIME_SECONDS,
    *,
    return_url: str = "",
    tier: str = "",
) -> str:
    """The `t` parameter of an upgrade link for this user, valid until `now + lifetime_seconds`."""
    return _sign(key, _PURPOSE, app_id, Link(user_id, now + lifetime_seconds, return_url, tier))


def sign_change(key: bytes, app_id: str, user_id: str, now: int, *, return_url: str, tier: str) -> str:
    """The `r` parameter of the URL to which Stripe returns a user: it shows the progress of a change to `tier`, and
    allows nothing. Constant for the same purchase on one day, so that an open checkout can be reused."""
    expires_at = (now // 86_400 + 3) * 86_400  # a checkout is open for a day at most
    return _sign(key, _CHANGE_PURPOSE, app_id, Link(user_id, expires_at, return_url, tier))


def verify(keys: Sequence[bytes], token: str, app_id: str, now: int) -> str:
    """The user_id of an upgrade link. Raises as `read`."""
    return read(keys, token, app_id, now).user_id


def read(keys: Sequence[bytes], token: str, app_id: str, now: int) -> Link:
    """The content of an upgrade link signed with any of `keys` for this app.

    Raises `BadSignature`: code `link_expired` for a valid link that is too old, else `bad_signature`.
    """
    return _read(keys, _PURPOSE, token, app_id, now)


def read_change(keys: Sequence[bytes], token: str, app_id: str, now: int) -> Link:
    """The content of the `r` parameter that `sign_change` made. Raises as `read`."""
    return _read(keys, _CHANGE_PURPOSE, token, app_id, now)


def _sign(key: bytes, purpose: bytes, app_id: str, link: Link) -> str:
    if not key:
        raise ValueError("a link needs a key to be signed with")
    more = [link.return_url, link.tier] if link.return_url or link.tier else []
    payload = b64url(json.dumps([app_id, link.user_id, link.expires_at, *more], ensure_ascii=False).encode())
    return f"{_VERSION}.{payload.decode()}.{b64url(hmac.digest(key, purpose + payload, 'sha256')).decode()}"


def _read(keys: Sequence[bytes], purpose: bytes, token: str, app_id: str, now: int) -> Link:
    bad = BadSignature("this link is not one of ours")
    version, _, rest = token.partition(".")
    payload_text, _, mac_text = rest.partition(".")
    if version != _VERSION or len(token) > _MAX_TOKEN or not token.isascii():
        raise bad
    payload = payload_text.encode()
    try:
        mac, body = b64url_decode(mac_text.encode()), b64url_decode(payload)
    except NotAuthenticated:
        raise bad from None
    good = False
    for key in keys:
        good |= bool(key) and hmac.compare_digest(hmac.digest(key, purpose + payload, "sha256"), mac)
    if not good:
        raise bad
    signed_app_id, user_id, expires_at, *more = json.loads(body)
    if signed_app_id != app_id:
        raise bad
    if now >= expires_at:
        raise BadSignature("this link has expired; open it anew from the app", code="link_expired")
    return Link(str(user_id), int(expires_at), *map(str, more))
