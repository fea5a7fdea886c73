"""The identity kind `openwebui`: Open WebUI's own sessions and API keys. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gateway.catalog.document import Problem, path_text
from gateway.catalog.identity.kind import Entries, IdentityEntry, IdentityKind
from gateway.catalog.identity.location import API_KEY, AUTHORIZATION, COOKIE, CredentialLocation, PrefixedLocation
from gateway.catalog.leaves import Leaf, Origin, SecretText
from gateway.catalog.secret_ref import SecretRef
from gateway.catalog.tree import Raw

_SESSION_COOKIE = "token"
_LOCATIONS = (
    CredentialLocation(AUTHORIZATION),
    CredentialLocation(COOKIE, _SESSION_COOKIE),
    CredentialLocation(API_KEY),
)


class OpenWebUIEntry(IdentityEntry):
    """The keys of this kind."""

    secret: SecretText | None = Field(None, description="openwebui: where its WEBUI_SECRET_KEY is.")
    introspect: Origin | None = Field(
        None,
        description="openwebui: where it is asked about each session and API key, so that what it revokes is refused.",
    )
    admins: Annotated[Literal["pass"] | None, Leaf('"pass"')] = Field(
        None,
        description="openwebui, with introspect: pass lets people with its role admin through every rule of routes.",
    )


@dataclass(frozen=True, slots=True)
class OpenWebUIIdentity(IdentityKind):
    """Sessions are signed with `secret`. `introspect` is the URL at which Open WebUI is asked about each, too.

    With `admins` "pass", the users that Open WebUI calls administrators pass the rules of all routes.
    """

    kind: ClassVar[str] = "openwebui"
    summary: ClassVar[str] = "Open WebUI's own sign-in"
    entry: ClassVar = OpenWebUIEntry
    required: ClassVar = {"secret": "where its WEBUI_SECRET_KEY is"}
    optional: ClassVar = ("introspect", "namespace", "admins")
    secret_keys: ClassVar = ("secret",)
    entries_share_one_source: ClassVar = True
    session_cookie: ClassVar = _SESSION_COOKIE

    secret: SecretRef
    introspect: str | None = None
    namespace: str = ""
    admins: Literal["pass"] | None = None

    @classmethod
    def from_entry(cls, entry: OpenWebUIEntry) -> OpenWebUIIdentity:
        introspect = entry.introspect.rstrip("/") if entry.introspect else None
        return cls(SecretRef.parse(entry.secret or ""), introspect, entry.namespace or "", entry.admins)

    @classmethod
    def problems(cls, entries: Entries) -> Iterator[Problem]:
        paths = [path for path, _ in entries]
        for path, entry in entries:
            if entry.get("introspect") is not None and len(paths) > 1:
                # With two of them in one app, nothing says which of them knows a session.
                other = next(each for each in paths if each != path)
                problem = f"allowed only in an app with one openwebui entry; another is at {path_text(other)}"
                yield (*path, "introspect"), problem
            if entry.get("admins") is not None and entry.get("introspect") is None:
                yield (
                    (*path, "admins"),
                    "only with introspect: a session does not hold the role, so Open WebUI is asked",
                )

    @classmethod
    def entry_locations(cls, entry: Raw) -> Iterator[PrefixedLocation]:
        return _locations(introspects=entry.get("introspect") is not None)

    def locations(self) -> Iterator[PrefixedLocation]:
        return _locations(introspects=self.introspect is not None)

    @property
    def secret_refs(self) -> tuple[tuple[str, SecretRef], ...]:
        return (("secret", self.secret),)

    @property
    def introspection_url(self) -> str | None:
        return self.introspect


def _locations(*, introspects: bool) -> Iterator[PrefixedLocation]:
    """API keys are not signed: they are read only where Open WebUI is asked about them."""
    for location in _LOCATIONS:
        yield location, ""
        if introspects:
            yield location, "sk-"
