"""What every identity kind of an app is once it is ready. Pure."""

from __future__ import annotations

from typing import Protocol

from gateway.access.authentication import AuthenticatedUser, CredentialLookup
from gateway.access.credential_cache import CredentialCache


class CredentialVerifier(Protocol):
    """One way to find the user in a request. `credential_caches` hold what it remembers, for the gauges."""

    @property
    def credential_caches(self) -> tuple[CredentialCache, ...]: ...

    def read(self, credential: bytes, source: str, now: int) -> AuthenticatedUser | CredentialLookup:
        """Whose credential it is. Raises `NotAuthenticated`; its code says what is wrong."""
        ...
