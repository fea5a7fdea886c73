"""What the verifiers of all identity kinds have in common. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from gateway.access.authentication import AuthenticatedUser, CredentialLookup
from gateway.access.credential_cache import CredentialCache
from gateway.access.introspection_cache import IntrospectionCache, digest_of
from gateway.access.jwks import KeyRing
from gateway.access.keys import UserKeys
from gateway.access.user_id_mapping import UserIdMapping
from gateway.catalog.model import App
from gateway.catalog.secret_ref import SecretRef
from gateway.settings import Secrets


class CredentialVerifier(ABC):
    """Verifies the credentials of one entry of an app's `identity`."""

    kind: ClassVar[str]
    app_reads_other_schemes: ClassVar[bool] = False
    """The app takes tokens and keys from Authorization under other schemes than Bearer as well."""
    last_cookie_counts: ClassVar[bool] = False
    """The app takes the last one of several cookies of the same name."""
    introspection_cache: IntrospectionCache | None = None
    """The results of asking the issuer about each credential; None if credentials are verified without it."""

    @property
    def credential_caches(self) -> tuple[CredentialCache, ...]:
        """Everything that it remembers, for the gauges."""
        return ()

    @abstractmethod
    def read(self, credential: bytes, source: str, now: int) -> AuthenticatedUser | CredentialLookup:
        """The user of a credential. Raises `NotAuthenticated`; its code says what is wrong."""

    def is_signed(self, credential: bytes) -> bool:
        """Whether the `CredentialLookup` for this credential is made only after its signature was verified."""
        return False

    def lookup_digest(self, lookup: CredentialLookup) -> bytes:
        """The digest by which `introspection_cache` holds the result of a lookup."""
        return digest_of(lookup.credential)


@dataclass(frozen=True, slots=True)
class VerifierContext:
    """What a verifier can be made from. `number` is the entry's place in the app's `identity`."""

    app: App
    number: int
    user_ids: UserIdMapping
    secrets: Mapping[SecretRef, Secrets]
    user_keys: UserKeys
    key_ring: Callable[[str], KeyRing]


class PreparedVerifier(NamedTuple):
    """`make` makes the verifier. Entries of one app with equal `key` share one, also across a reload."""

    key: Hashable
    make: Callable[[], CredentialVerifier]
