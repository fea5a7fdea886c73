"""One app as the gate needs it, made once per reload. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial

from gateway.access.authenticator import Authenticator
from gateway.access.credential_verifier import CredentialVerifier
from gateway.access.jwks import KeyRing
from gateway.access.keys import UserKeys, UserKeyVerifier
from gateway.access.litellm_keys import LiteLLMKeys
from gateway.access.oidc import OidcTokens
from gateway.access.openwebui import OpenWebUI
from gateway.access.policy import Policy
from gateway.access.trusted_header import TrustedHeader
from gateway.access.user_ids import UserIdMapping
from gateway.catalog.identity_headers import credential_places_of
from gateway.catalog.model import (
    App,
    HeaderIdentity,
    JwtIdentity,
    LiteLLMKeyIdentity,
    OpenWebUIIdentity,
    SecretRef,
    UserKeyIdentity,
)
from gateway.errors import ConfigError
from gateway.settings import Secrets

Make = Callable[[], CredentialVerifier]


@dataclass(frozen=True, slots=True)
class AppAccess:
    """Who may be asking, and what they may; for one app of one catalog."""

    app: App
    identity: Authenticator
    policy: Policy
    made: Mapping[Hashable, CredentialVerifier] = field(default_factory=dict, repr=False)
    """The identity kinds by all that each was made of: the same after a reload goes on, and remembers."""


def app_access(
    app: App,
    secrets: Mapping[SecretRef, Secrets],
    user_keys: UserKeys,
    previous: AppAccess | None = None,
    key_ring: Callable[[str], KeyRing] = KeyRing,
) -> AppAccess:
    """Prepare `app`. `secrets` has every secret that its identity kinds name, newest first; `user_keys` is live.
    `key_ring` has the public keys at an address: one ring for each, the same every time.

    With `previous`, the same app before a reload, what a kind has verified stays remembered if nothing about the kind
    has changed; any change of its secrets forgets all (T32). Raises `ConfigError` for a secret that is missing.
    """
    before = {} if previous is None else previous.made
    made: dict[Hashable, CredentialVerifier] = {}
    kinds: dict[int, CredentialVerifier] = {}
    namespaces = _namespaces(app)
    for number, kind in enumerate(app.identity):
        ids = UserIdMapping("" if isinstance(kind, UserKeyIdentity) else kind.namespace, namespaces)
        if isinstance(kind, OpenWebUIIdentity):
            config_key, make = _openwebui(app, ids, secrets)
        elif isinstance(kind, UserKeyIdentity):
            config_key, make = object(), partial(UserKeyVerifier, app.app_id, user_keys)
        else:
            config_key, make = _other(number, app, kind, ids, key_ring)
        if config_key not in made:
            made[config_key] = before.get(config_key) or make()
        kinds[number] = made[config_key]
    credential_places = {number: tuple(credential_places_of(kind)) for number, kind in enumerate(app.identity)}
    identity = Authenticator(kinds, credential_places)
    if previous is not None:
        identity.continue_session_counts(previous.identity)
    return AppAccess(app, identity, Policy(app), made)


def _namespaces(app: App) -> tuple[str, ...]:
    found = (kind.namespace for kind in app.identity if not isinstance(kind, UserKeyIdentity))
    return tuple(dict.fromkeys(namespace for namespace in found if namespace))


def _openwebui(app: App, ids: UserIdMapping, secrets: Mapping[SecretRef, Secrets]) -> tuple[Hashable, Make]:
    """Two Open WebUIs in one app are one kind with the secrets of both."""
    found: Secrets = ()
    introspect: str | None = None
    admins_pass = False
    numbers: list[int] = []
    for number, kind in enumerate(app.identity):
        if isinstance(kind, OpenWebUIIdentity):
            numbers.append(number)
            introspect = introspect or kind.introspect
            admins_pass = admins_pass or kind.admins == "pass"
            if not secrets.get(kind.secret):
                problem = f"app {app.app_id}: identity openwebui: its secret {kind.secret} is missing or empty"
                raise ConfigError([problem])
            found += secrets[kind.secret]
    raw = tuple(secret.reveal().encode() for secret in found)
    make = partial(OpenWebUI, numbers[0], raw, ids, introspect, admins_pass)
    return (OpenWebUI, numbers[0], found, ids, introspect, admins_pass), make


def _other(
    number: int,
    app: App,
    kind: JwtIdentity | HeaderIdentity | LiteLLMKeyIdentity,
    ids: UserIdMapping,
    key_ring: Callable[[str], KeyRing],
) -> tuple[Hashable, Make]:
    if isinstance(kind, JwtIdentity):
        ring = key_ring(kind.jwks_url)
        return (OidcTokens, number, kind, ids, ring), partial(OidcTokens, number, kind, ids, ring)
    if isinstance(kind, HeaderIdentity):
        return (TrustedHeader, kind, ids), partial(TrustedHeader, ids)
    template = (app.litellm.user_id if app.litellm else "{user_id}").replace("{app_id}", app.app_id)
    return (LiteLLMKeys, number, template, ids), partial(LiteLLMKeys, number, template, ids)
