"""The identity kind `user_key`: our own keys, made with `skpay keys create`. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from gateway.catalog.identity.kind import IdentityEntry, IdentityKind
from gateway.catalog.identity.location import AUTHORIZATION, CredentialLocation, PrefixedLocation
from gateway.catalog.tree import Raw

_LOCATIONS: tuple[PrefixedLocation, ...] = ((CredentialLocation(AUTHORIZATION), "skp_"),)


@dataclass(frozen=True, slots=True)
class UserKeyIdentity(IdentityKind):
    """Each key belongs to one of the app's own ids, so there is no namespace."""

    kind: ClassVar[str] = "user_key"
    summary: ClassVar[str] = "keys made with skpay keys create"
    entry: ClassVar = IdentityEntry
    optional: ClassVar = ()
    why_refused: ClassVar = {"secret": "; its keys are kept hashed", "namespace": "; its ids are the app's own"}

    @classmethod
    def from_entry(cls, entry: IdentityEntry) -> UserKeyIdentity:
        return cls()

    @classmethod
    def entry_locations(cls, entry: Raw) -> Iterator[PrefixedLocation]:
        return iter(_LOCATIONS)

    def locations(self) -> Iterator[PrefixedLocation]:
        return iter(_LOCATIONS)
