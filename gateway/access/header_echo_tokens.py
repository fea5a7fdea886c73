"""The token with which `skpay doctor` requests the headers that reach an app, valid for a minute. Pure.

Without a valid token that path is answered 404 like any unknown one.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl

from gateway.access import links
from gateway.access.derived_keys import derived_keys
from gateway.errors import BadSignature
from gateway.settings import Secrets

LIFETIME_SECONDS = 60
# A valid query has less than 300 bytes and two parameters; parsing 60 kB of them would block the event loop for 20 ms.
_MAX_QUERY = 2048
_MAX_PARAMETERS = 8


def header_echo_keys(admin_tokens: Secrets) -> tuple[bytes, ...]:
    """One key for each ADMIN_TOKEN, newest first: the first signs, all of them verify."""
    return derived_keys(admin_tokens, "arrival pass 2")


def make_echo_token(key: bytes, app_id: str, nonce: str, now: int) -> str:
    """A token for one app; `nonce` is unique to it."""
    return links.sign(key, app_id, nonce, now, LIFETIME_SECONDS)


def verify_echo_token(keys: Sequence[bytes], text: str, app_id: str, now: int) -> str:
    """The nonce of a valid token. Raises `BadSignature`."""
    return links.verify(keys, text, app_id, now)


def has_valid_echo_token(keys: Sequence[bytes], uri: str, app_id: str, now: int) -> bool:
    """Whether this request target (`/.skpayments/arrived?app=…&pass=…`) carries a valid token for the app."""
    query = uri.partition("?")[2]
    if len(query) > _MAX_QUERY or query.count("&") >= _MAX_PARAMETERS:
        return False
    shown = [value for name, value in parse_qsl(query) if name == "pass"]
    try:
        return len(shown) == 1 and bool(verify_echo_token(keys, shown[0], app_id, now))
    except BadSignature:
        return False
