"""Where in a request each identity kind looks for its credential. Pure.

From these the gate, Traefik's allow-list and the plugin's key are made alike, so that all of them act on the same
credential (T29).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from gateway.catalog.model import App, HeaderIdentity, IdentityKind, JwtIdentity, OpenWebUIIdentity

AUTHORIZATION, COOKIE, API_KEY = "Authorization", "Cookie", "X-Api-Key"
SESSION_COOKIE = "token"
"""Open WebUI's."""

CredentialPrefix = Literal["skp_", "sk-", ""]
"""How a credential starts; "" is any start that no other kind of the app has in the same place."""


class CredentialLocation(NamedTuple):
    """A header by the name that Go gives it, or one cookie (then `header` is Cookie)."""

    header: str
    cookie: str = ""

    def __str__(self) -> str:
        return f"the cookie {self.cookie}" if self.cookie else self.header


_OPENWEBUI = (
    CredentialLocation(AUTHORIZATION),
    CredentialLocation(COOKIE, SESSION_COOKIE),
    CredentialLocation(API_KEY),
)


def canonical_header(name: str) -> str:
    """A header's name as Go spells it: `X-Api-Key`."""
    return "-".join(part[:1].upper() + part[1:].lower() for part in name.split("-"))


def credential_locations(
    kind: str, *, header: str | None = None, cookie: str | None = None, introspects: bool = False
) -> Iterator[tuple[CredentialLocation, CredentialPrefix]]:
    """What a kind takes for its credential, in the order in which it looks."""
    if kind == OpenWebUIIdentity.kind:
        for place in _OPENWEBUI:
            yield place, ""
            if introspects:
                yield place, "sk-"
    elif kind == JwtIdentity.kind:
        if header is not None or cookie is None:
            yield CredentialLocation(canonical_header(header or AUTHORIZATION)), ""
        if cookie is not None:
            yield CredentialLocation(COOKIE, cookie), ""
    elif kind == HeaderIdentity.kind and header is not None:
        for form in ("", "sk-", "skp_"):
            yield CredentialLocation(canonical_header(header)), form
    elif kind == "litellm_key":
        yield CredentialLocation(AUTHORIZATION), "sk-"
        yield CredentialLocation(API_KEY), "sk-"
    elif kind == "user_key":
        yield CredentialLocation(AUTHORIZATION), "skp_"


def credential_places_of(kind: IdentityKind) -> Iterator[tuple[CredentialLocation, CredentialPrefix]]:
    """The same of a kind in a catalog."""
    if isinstance(kind, OpenWebUIIdentity):
        return credential_locations(kind.kind, introspects=kind.introspect is not None)
    if isinstance(kind, JwtIdentity):
        return credential_locations(kind.kind, header=kind.header, cookie=kind.cookie)
    if isinstance(kind, HeaderIdentity):
        return credential_locations(kind.kind, header=kind.name)
    return credential_locations(kind.kind)


def request_headers(app: App) -> tuple[str, ...]:
    """All headers in which a credential of this app may stand, by the names that Go gives them."""
    return tuple(dict.fromkeys(place.header for kind in app.identity for place, _ in credential_places_of(kind)))
