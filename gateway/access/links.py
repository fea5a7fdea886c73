"""The ten-minute upgrade link: who the gate saw, signed, so that a buyer is never a parameter. Pure.

`1.<payload>.<mac>`, both base64url; the payload is the JSON list [app_id, user_id, expires_at].
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Sequence

from gateway.access.derived_keys import derived_keys
from gateway.access.jwt import b64url, un_b64url
from gateway.errors import BadSignature, NotAuthenticated
from gateway.settings import Secrets

LIFETIME_SECONDS = 600
_VERSION = "1"
_MAX_TOKEN = 4096
# Names what is signed, so that nothing else we sign with the same key can be passed off as a link.
_PURPOSE = b"skpayments upgrade link 1\x00"


def link_keys(gate_secrets: Secrets) -> tuple[bytes, ...]:
    """One key for each GATE_SECRET, newest first: the first signs, all of them verify."""
    return derived_keys(gate_secrets, "upgrade link 2")


def sign(key: bytes, app_id: str, user_id: str, now: int, lifetime_seconds: int = LIFETIME_SECONDS) -> str:
    """The `t` of an upgrade link for this person, good until `now + lifetime_seconds`."""
    if not key:
        raise ValueError("a link needs a key to be signed with")
    payload = b64url(json.dumps([app_id, user_id, now + lifetime_seconds], ensure_ascii=False).encode())
    return f"{_VERSION}.{payload.decode()}.{b64url(hmac.digest(key, _PURPOSE + payload, 'sha256')).decode()}"


def verify(keys: Sequence[bytes], token: str, app_id: str, now: int) -> str:
    """The user_id of a link signed with any of `keys` for this app.

    Raises `BadSignature`: code `link_expired` for a link of ours that is too old, else `bad_signature`.
    """
    bad = BadSignature("this link is not one of ours")
    version, _, rest = token.partition(".")
    payload_text, _, mac_text = rest.partition(".")
    if version != _VERSION or len(token) > _MAX_TOKEN or not token.isascii():
        raise bad
    payload = payload_text.encode()
    try:
        mac, body = un_b64url(mac_text.encode()), un_b64url(payload)
    except NotAuthenticated:
        raise bad from None
    good = False
    for key in keys:
        good |= bool(key) and hmac.compare_digest(hmac.digest(key, _PURPOSE + payload, "sha256"), mac)
    if not good:
        raise bad
    signed_app_id, user_id, expires_at = json.loads(body)
    if signed_app_id != app_id:
        raise bad
    if now >= expires_at:
        raise BadSignature("this link has expired; open it anew from the app", code="link_expired")
    return str(user_id)
