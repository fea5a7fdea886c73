"""/key/*: virtual keys, found by key or by hash."""

from __future__ import annotations

import hashlib
import secrets

from gateway.sandbox.litellm import durations, fields
from gateway.sandbox.litellm.fields import Body
from gateway.sandbox.litellm.refusal import detail, proxy_error
from gateway.sandbox.litellm.rows import Json, Key, key_answer, key_info
from gateway.sandbox.litellm.state import State

_SHORTEST_KEY = 16


def generate(state: State, body: Body) -> Json:
    """A virtual key. A user that does not exist is accepted, and then nothing is enforced."""
    sent = fields.read(body, fields.KEY)
    key = Key(_token(state, sent))
    duration = sent.pop("duration", None)
    if duration is not None:
        key.expires_at = state.clock() + durations.seconds(str(duration))
    for name, value in sent.items():
        if value is not None:
            setattr(key, name, value)
    state.keys[key.token] = key
    return key_answer(key)


def _token(state: State, sent: Body) -> str:
    """The key that the caller chose, or a new one. Takes it out of `sent`; an alias is only given once."""
    chosen = sent.pop("key", None)
    alias = sent.get("key_alias")
    if alias is not None and any(key.key_alias == alias for key in state.keys.values()):
        raise proxy_error(400, f"Key with alias '{alias}' already exists.", "bad_request_error", "key_alias")
    if chosen is None:
        return "sk-" + secrets.token_urlsafe(16)
    if not str(chosen).startswith("sk-") or len(str(chosen)) < _SHORTEST_KEY:
        raise detail(400, {"error": "Invalid key format. LiteLLM Virtual Key must start with 'sk-'."})
    return str(chosen)


def info(state: State, query: Body) -> Json:
    """By the key or its hash. One that was deleted is still found, in an archive."""
    requested = str(query.get("key", ""))
    for key in (*state.keys.values(), *state.deleted_keys):
        if requested in (key.token, hashlib.sha256(key.token.encode()).hexdigest()):
            return {"key": requested, "info": key_info(key, state.clock())}
    raise proxy_error(404, "Key not found in database", "not_found_error", "key")


def block(state: State, body: Body) -> Json:
    """Calls with the key are refused from now on."""
    key = state.keys.get(str(body.get("key")))
    if key is None:
        raise proxy_error(404, "Key not found in database", "not_found_error", "key")
    key.blocked = True
    return key_answer(key)


def delete(state: State, body: Body) -> Json:
    """The keys that were known."""
    listed = body.get("keys")
    found = [key for key in listed if key in state.keys] if isinstance(listed, list) else []
    for token in found:
        key = state.keys.pop(token)
        key.deleted_at = state.clock()
        state.deleted_keys.append(key)
    return {"deleted_keys": found}
