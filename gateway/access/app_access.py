"""One app as the gate needs it, made once per reload. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

from gateway.access.authenticator import Authenticator
from gateway.access.identity.registry import VERIFIERS
from gateway.access.identity.verifier import CredentialVerifier, VerifierContext
from gateway.access.jwks import KeyRing
from gateway.access.keys import UserKeys
from gateway.access.policy import Policy
from gateway.access.user_id_mapping import UserIdMapping
from gateway.catalog.model import App
from gateway.catalog.secret_ref import SecretRef
from gateway.settings import Secrets


@dataclass(frozen=True, slots=True)
class AppAccess:
    """How the users of one app of one catalog are authenticated, and what each may access."""

    app: App
    identity: Authenticator
    policy: Policy
    verifiers: Mapping[Hashable, CredentialVerifier] = field(default_factory=dict, repr=False)
    """By everything that each was made from, so that an unchanged one is kept across a reload with its caches."""


def app_access(
    app: App,
    secrets: Mapping[SecretRef, Secrets],
    user_keys: UserKeys,
    previous: AppAccess | None = None,
    key_ring: Callable[[str], KeyRing] = KeyRing,
) -> AppAccess:
    """Prepare `app`. `secrets` has every secret that its identity kinds name, newest first; `user_keys` is live.
    `key_ring` returns the public keys at a URL, the same object each time.

    `previous` is the same app before a reload: verified credentials stay cached if nothing about their identity kind
    has changed; any change of its secrets clears the cache (T32). Raises `ConfigError` for a secret that is missing.
    """
    before = {} if previous is None else previous.verifiers
    verifiers: dict[Hashable, CredentialVerifier] = {}
    by_number: dict[int, CredentialVerifier] = {}
    namespaces = tuple(dict.fromkeys(kind.namespace for kind in app.identity if kind.namespace))
    for number, kind in enumerate(app.identity):
        user_ids = UserIdMapping(kind.namespace, namespaces)
        context = VerifierContext(app, number, user_ids, secrets, user_keys, key_ring)
        prepared = VERIFIERS[kind.kind](kind, context)
        key = kind.kind, prepared.key
        if key not in verifiers:
            verifiers[key] = before.get(key) or prepared.make()
        by_number[number] = verifiers[key]
    locations = {number: tuple(kind.locations()) for number, kind in enumerate(app.identity)}
    identity = Authenticator(by_number, locations)
    if previous is not None:
        identity.continue_session_counts(previous.identity)
    return AppAccess(app, identity, Policy(app), verifiers)
