"""One app as the gate needs it, made once per reload. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.access.identity import Identity
from gateway.access.keys import UserKeys
from gateway.access.policy import Policy
from gateway.catalog.model import App, OpenWebUIIdentity, SecretRef, UserKeyIdentity
from gateway.errors import ConfigError
from gateway.settings import Secrets


@dataclass(frozen=True, slots=True)
class AppAccess:
    """Who may be asking, and what they may; for one app of one catalog."""

    app: App
    identity: Identity
    policy: Policy


def app_access(
    app: App, secrets: Mapping[SecretRef, Secrets], user_keys: UserKeys, previous: AppAccess | None = None
) -> AppAccess:
    """Prepare `app`. `secrets` has every secret that its identity kinds name, newest first; `user_keys` is live.

    With `previous`, the same app before a reload, verified tokens stay remembered if the secrets are the same; any
    change of them forgets all (T32). Raises `ConfigError` for a secret that is missing or empty.
    """
    session_secrets: tuple[bytes, ...] | None = None
    keys: UserKeys | None = None
    for kind in app.identity:
        if isinstance(kind, UserKeyIdentity):
            keys = user_keys
            continue
        if not isinstance(kind, OpenWebUIIdentity) or kind.introspect is not None or kind.namespace:
            raise ConfigError([f"app {app.app_id}: identity {kind.kind}: this way of using it is not built yet"])
        if not secrets.get(kind.secret):
            raise ConfigError([f"app {app.app_id}: identity openwebui: its secret {kind.secret} is missing or empty"])
        found = tuple(secret.reveal().encode() for secret in secrets[kind.secret])
        session_secrets = (session_secrets or ()) + found
    same = previous is not None and previous.identity.openwebui_secrets == session_secrets
    remembered = previous.identity.remembered if previous is not None and same else None
    identity = Identity(app.app_id, openwebui_secrets=session_secrets, user_keys=keys, remembered=remembered)
    return AppAccess(app, identity, Policy(app))
