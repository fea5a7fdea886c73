"""/user/*"""

from __future__ import annotations

import secrets

from gateway.sandbox.litellm import durations, fields
from gateway.sandbox.litellm.fields import Body
from gateway.sandbox.litellm.refusal import detail, invalid, proxy_error
from gateway.sandbox.litellm.rows import Json, Key, User, new_user_answer
from gateway.sandbox.litellm.state import State

_ROLES = ("proxy_admin", "proxy_admin_viewer", "internal_user", "internal_user_viewer")
_LIMITS = ("max_budget", "tpm_limit", "rpm_limit", "max_parallel_requests", "user_email", "user_alias", "user_role")


def new(state: State, body: Body) -> Json:
    """409 for a known id or e-mail; before 1.82 200 and the row untouched. Creates a key unless disabled."""
    sent = fields.read(body, fields.USER_NEW)
    _check_role(sent)
    user_id = str(sent.get("user_id") or secrets.token_hex(16))
    known = user_id in state.users
    if known and not state.version.old:
        raise proxy_error(409, f"{{'error': 'User with id {user_id} already exists'}}", "internal_server_error")
    _check_email(state, user_id, sent)
    _check_duration(state, sent)
    user = User(user_id, created_at=state.clock(), updated_at=state.clock())
    _write(state, user, sent)
    if not known:
        state.users[user_id] = user
    if sent.get("auto_create_key") is False:
        return new_user_answer(user, "")
    # The key takes a copy of the limits; /user/update will not lift those.
    key = Key("sk-" + secrets.token_urlsafe(16), user_id)
    state.keys[key.token] = key
    return new_user_answer(user, key.token)


def update(state: State, body: Body) -> Json:
    """Upsert. Only what is sent changes; {} and [] are ignored, null resets or not by version."""
    sent = fields.read(body, fields.USER_UPDATE)
    if not sent.get("user_id") and not sent.get("user_email"):
        raise invalid("value_error", ["body"], "Value error, Either user id or user email must be provided")
    _check_role(sent)
    _check_duration(state, sent)
    if "blocked" in sent:
        message = "Authentication Error, Could not find field at `upsertOneLiteLLM_UserTable.create.blocked`"
        raise proxy_error(400, message, "auth_error", "None")
    user_id = str(sent.get("user_id") or _id_of_email(state, str(sent["user_email"])))
    _check_email(state, user_id, sent)
    user = state.users.get(user_id)
    if user is None:
        user = state.users[user_id] = User(user_id, created_at=state.clock(), updated_at=state.clock())
    _write(state, user, sent)
    return {"user_id": user_id, "data": user.row()}


def delete(state: State, body: Body) -> int:
    """The number of deleted users; 404 if one is unknown, and then none is deleted. Their keys are deleted too."""
    user_ids = fields.user_ids(body)
    for user_id in user_ids:
        if user_id not in state.users:
            raise detail(404, {"error": f"User not found, passed user_id={user_id}"})
    for user_id in user_ids:
        del state.users[user_id]
        for token in [key.token for key in state.keys.values() if key.user_id == user_id]:
            del state.keys[token]
    return len(user_ids)


def info(state: State, query: Body) -> Json:
    user_id = str(query.get("user_id") or "")
    user = state.users.get(user_id)
    if user is None and state.version.old:
        return {"user_id": user_id, "user_info": {"spend": 0}, "keys": [], "teams": []}
    if user is None:
        raise proxy_error(404, f"User {user_id} not found", "internal_server_error")
    keys = [{"key_alias": key.key_alias, "spend": key.spend} for key in state.keys.values() if key.user_id == user_id]
    return {"user_id": user_id, "user_info": user.info(), "keys": keys, "teams": []}


def info_v2(state: State, query: Body) -> Json:
    user = state.users.get(str(query.get("user_id") or ""))
    if user is None:
        raise proxy_error(404, f"User not found: {query.get('user_id')}", "internal_server_error")
    return user.short()


def _write(state: State, user: User, sent: Body) -> None:
    now = state.clock()
    user.updated_at = now
    for name in _LIMITS:
        if name in sent and (sent[name] is not None or state.version.null_resets(name)):
            setattr(user, name, sent[name])
    if isinstance(sent.get("spend"), float):
        user.spend = float(str(sent["spend"]))
    if isinstance(sent.get("metadata"), dict) and sent["metadata"]:
        user.metadata = dict(sent["metadata"])  # type: ignore[call-overload]  # checked to be a dict one line above
    if isinstance(sent.get("models"), list) and sent["models"]:
        user.models = list(sent["models"])  # type: ignore[call-overload]  # checked to be a list one line above
    if "budget_duration" not in sent:
        return
    duration = sent["budget_duration"]
    if duration is None:
        if state.version.null_resets("budget_duration"):
            user.budget_duration = user.budget_reset_at = None
        return
    # The race: the new period begins whether or not the job has set the spend back for the old one.
    user.budget_duration = str(duration)
    user.budget_reset_at = durations.reset_at(user.budget_duration, now) if durations.valid(str(duration)) else None


def _check_duration(state: State, sent: Body) -> None:
    duration = sent.get("budget_duration")
    if duration is None or state.version.old or durations.valid(str(duration)):
        return
    message = f"{{'error': \"{invalid_duration(str(duration))}\"}}"
    raise proxy_error(400, message, "auth_error", "None")


def invalid_duration(duration: str) -> str:
    """LiteLLM's words for a duration it cannot read."""
    return f"Invalid budget_duration '{duration}'. Use a format like '1h', '24h', '7d', or '30d'."


def _check_role(sent: Body) -> None:
    role = sent.get("user_role")
    if role is not None and role not in _ROLES:
        names = ("PROXY_ADMIN", "PROXY_ADMIN_VIEW_ONLY", "INTERNAL_USER", "INTERNAL_USER_VIEW_ONLY")
        known = [f"<LitellmUserRoles.{name}: '{value}'>" for name, value in zip(names, _ROLES, strict=True)]
        message = f"Input should be {', '.join(known[:-1])} or {known[-1]}"
        raise invalid("literal_error", ["body", "user_role"], message)


def _check_email(state: State, user_id: str, sent: Body) -> None:
    email = sent.get("user_email")
    if email is None:
        return
    for user in state.users.values():
        if user.user_id != user_id and (user.user_email or "").lower() == str(email).lower():
            raise proxy_error(409, f"{{'error': 'User with email {email} already exists'}}", "internal_server_error")


def _id_of_email(state: State, email: str) -> str:
    for user in state.users.values():
        if (user.user_email or "").lower() == email.lower():
            return user.user_id
    raise detail(404, {"error": f"User not found with email {email}"})
