"""Signed metadata of our customers at Stripe, from which a lost database can be rebuilt. Pure.

Unsigned metadata proves nothing: other products that share the account write `app_id` and `user_id` too, and some let
their users fill metadata in. The signing key is derived from ADMIN_TOKEN (docs/adr/0005).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence

from gateway.access.derived_keys import derived_keys
from gateway.settings import Secrets

_APP_ID, _USER_ID, _SIGNATURE = "app_id", "user_id", "skpay_sig"
_FORMER_PURPOSE = b"skpayments customer metadata v1"


def signing_keys(admin_tokens: Secrets) -> tuple[bytes, ...]:
    """One key for each token, newest first: the first signs, all of them verify.

    The keys as earlier versions derived them come last: what they signed stands at Stripe until `sign_customers` has
    replaced it, and in a restored backup's customers for longer.
    """
    former = (hmac.digest(token.reveal().encode(), _FORMER_PURPOSE, hashlib.sha256) for token in admin_tokens)
    return (*derived_keys(admin_tokens, "customer metadata 2"), *former)


def session_metadata(app_id: str, user_id: str) -> dict[str, str]:
    """The unsigned metadata of a checkout session and its subscription."""
    return {_APP_ID: app_id, _USER_ID: user_id}


def signed_metadata(keys: Sequence[bytes], app_id: str, user_id: str) -> dict[str, str]:
    """The metadata of a customer of ours, signed with the newest key."""
    return {_APP_ID: app_id, _USER_ID: user_id, _SIGNATURE: _signature(keys[0], app_id, user_id)}


def signed_owner(keys: Sequence[bytes], metadata: Mapping[str, object]) -> tuple[str, str] | None:
    """The (app id, user id) that this metadata names, if it has a valid signature."""
    app_id, user_id, signature = (metadata.get(name) for name in (_APP_ID, _USER_ID, _SIGNATURE))
    if not (isinstance(app_id, str) and isinstance(user_id, str) and isinstance(signature, str)):
        return None
    given, matched = signature.encode("utf-8", "surrogatepass"), False
    for key in keys:
        matched |= hmac.compare_digest(_signature(key, app_id, user_id).encode(), given)
    return (app_id, user_id) if matched else None


def is_signed_with_newest_key(keys: Sequence[bytes], metadata: Mapping[str, object], app_id: str, user_id: str) -> bool:
    return metadata.get(_SIGNATURE) == _signature(keys[0], app_id, user_id)


def other_owner(metadata: Mapping[str, object], app_id: str, user_id: str) -> tuple[str, str] | None:
    """The (key, value) by which this metadata, signed or not, names another owner; None if it names no other."""
    for name, expected in ((_APP_ID, app_id), (_USER_ID, user_id)):
        if metadata.get(name, expected) != expected:
            return name, str(metadata[name])
    return None


def _signature(key: bytes, app_id: str, user_id: str) -> str:
    # With their lengths: app "a" with user "bc" must not be app "ab" with user "c".
    parts = b"".join(b"%d:%s" % (len(raw), raw) for raw in (app_id.encode(), user_id.encode("utf-8", "surrogatepass")))
    return hmac.digest(key, parts, hashlib.sha256).hex()
