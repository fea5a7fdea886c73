"""The identity kind `header`: a header that a Traefik middleware sets. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from gateway.catalog import values
from gateway.catalog.identity.kind import IdentityEntry, IdentityKind, TrustedHeader
from gateway.catalog.identity.location import CredentialLocation, CredentialPrefix, PrefixedLocation, canonical_header
from gateway.catalog.leaves import Leaf
from gateway.catalog.tree import Raw

_PREFIXES: tuple[CredentialPrefix, ...] = ("", "sk-", "skp_")


class HeaderEntry(IdentityEntry):
    """The keys of this kind."""

    name: Annotated[
        str | None,
        Field(max_length=64, description="header: the header that holds the user's id."),
        Leaf('a header, such as "Remote-User"', values.trusted_header_problem),
    ] = None
    after: Annotated[
        str | None,
        Field(max_length=140, description="header: the Traefik middleware that sets it."),
        Leaf('a Traefik middleware with its provider, such as "authelia@file"', values.middleware_problem),
    ] = None


@dataclass(frozen=True, slots=True)
class HeaderIdentity(IdentityKind):
    """The header `name`, set by the Traefik middleware `after`; first it is removed from the client's request."""

    kind: ClassVar[str] = "header"
    summary: ClassVar[str] = "one that a Traefik middleware sets"
    entry: ClassVar = HeaderEntry
    required: ClassVar = {
        "name": "the header that holds the user's id",
        "after": "the Traefik middleware that sets the header; without it, any client could",
    }

    name: str
    after: str
    namespace: str = ""

    @classmethod
    def from_entry(cls, entry: HeaderEntry) -> HeaderIdentity:
        return cls(entry.name or "", entry.after or "", entry.namespace or "")

    @classmethod
    def entry_locations(cls, entry: Raw) -> Iterator[PrefixedLocation]:
        return _locations(entry.get("name"))

    def locations(self) -> Iterator[PrefixedLocation]:
        return _locations(self.name)

    @property
    def trusted_header(self) -> TrustedHeader:
        return TrustedHeader(self.name, self.after)


def _locations(name: object) -> Iterator[PrefixedLocation]:
    """The value is an id, however it starts."""
    if isinstance(name, str):
        for prefix in _PREFIXES:
            yield CredentialLocation(canonical_header(name)), prefix
