"""The identity kind `litellm_key`: LiteLLM's virtual keys. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from gateway.catalog.identity.kind import IdentityEntry, IdentityKind
from gateway.catalog.identity.location import API_KEY, AUTHORIZATION, CredentialLocation, PrefixedLocation
from gateway.catalog.tree import Raw

_LOCATIONS: tuple[PrefixedLocation, ...] = (
    (CredentialLocation(AUTHORIZATION), "sk-"),
    (CredentialLocation(API_KEY), "sk-"),
)


@dataclass(frozen=True, slots=True)
class LiteLLMKeyIdentity(IdentityKind):
    """The user is found from the key's owner at LiteLLM by the app's `litellm.user_id`, applied in reverse."""

    kind: ClassVar[str] = "litellm_key"
    summary: ClassVar[str] = "LiteLLM's virtual keys"
    entry: ClassVar = IdentityEntry
    app_is_litellm: ClassVar = True

    namespace: str = ""

    @classmethod
    def from_entry(cls, entry: IdentityEntry) -> LiteLLMKeyIdentity:
        return cls(entry.namespace or "")

    @classmethod
    def entry_locations(cls, entry: Raw) -> Iterator[PrefixedLocation]:
        return iter(_LOCATIONS)

    def locations(self) -> Iterator[PrefixedLocation]:
        return iter(_LOCATIONS)
