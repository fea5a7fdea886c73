"""What every identity kind declares; one file of this package for each kind, listed in `registry`. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import Field

from gateway.catalog.document import Path, Problem
from gateway.catalog.identity.location import PrefixedLocation
from gateway.catalog.leaves import Leaf, Shape
from gateway.catalog.secret_ref import SecretRef
from gateway.catalog.tree import Raw

Entries = Sequence[tuple[Path, Raw]]
"""Entries of `identity` in the raw tree, each with its path."""


class IdentityEntry(Shape):
    """The keys that entries of several kinds have."""

    kind: str
    namespace: Annotated[
        str | None,
        Field(
            pattern=r"^[a-z0-9-]{0,32}$",
            description='Goes before the ids found here, as "namespace:id"; "" is the app\'s own ids.',
        ),
        Leaf('"", or a-z, 0-9 and -, 32 characters at most'),
    ] = None


class TrustedHeader(NamedTuple):
    """A header that the Traefik middleware `after` sets to the user's id."""

    name: str
    after: str


class IdentityKind(ABC):
    """One way to find the user in a request. The class declares the kind; an instance is one entry of an app."""

    __slots__ = ()

    kind: ClassVar[str]
    summary: ClassVar[str]
    """For apps.schema.json: one clause without a full stop."""
    entry: ClassVar[type[Shape]]
    """Its keys in apps.json, value by value."""
    required: ClassVar[Mapping[str, str]] = {}
    """The keys that an entry must have, and why."""
    optional: ClassVar[tuple[str, ...]] = ("namespace",)
    why_refused: ClassVar[Mapping[str, str]] = {}
    """For keys of other kinds that this one does not have: the end of the message."""
    secret_keys: ClassVar[tuple[str, ...]] = ()
    """The keys that name a secret. No two apps may have the same one."""
    entries_share_one_source: ClassVar[bool] = False
    """Several entries in one app are one source of users, and may read the same credential."""
    app_is_litellm: ClassVar[bool] = False
    """An app with such an entry is LiteLLM itself."""
    session_cookie: ClassVar[str | None] = None
    """The cookie in which the app itself keeps its sessions."""

    @classmethod
    @abstractmethod
    def from_entry(cls, entry: Any) -> IdentityKind:
        """The kind of a valid entry, which has all keys of `IdentityKind.entry`."""

    @classmethod
    def problems(cls, entries: Entries) -> Iterator[Problem]:
        """What is wrong between the keys of this kind's entries in one app."""
        return iter(())

    @classmethod
    @abstractmethod
    def entry_locations(cls, entry: Raw) -> Iterator[PrefixedLocation]:
        """`locations` of an entry in the raw tree, which may be invalid."""

    @abstractmethod
    def locations(self) -> Iterator[PrefixedLocation]:
        """Where the credential can be, in the order in which it is read.

        The gate, Traefik's allow-list of headers and the plugin's cache key are all made from this, so that they act
        on the same credential (T29).
        """

    @property
    def namespace(self) -> str:
        """Goes before the ids that this kind finds; "" is the app's own ids."""
        return ""

    @property
    def secret_refs(self) -> tuple[tuple[str, SecretRef], ...]:
        """The secrets that the entry names, each with its key."""
        return ()

    @property
    def introspection_url(self) -> str | None:
        """Where the app is asked about each credential."""
        return None

    @property
    def trusted_header(self) -> TrustedHeader | None:
        """The header that is believed without a credential in it."""
        return None

    @property
    def key_set_url(self) -> str | None:
        """Where the public keys are that verify the credentials."""
        return None


def request_headers(kinds: Iterable[IdentityKind]) -> tuple[str, ...]:
    """All headers that can have a credential for these kinds, by their canonical names in Go."""
    return tuple(dict.fromkeys(location.header for kind in kinds for location, _ in kind.locations()))
