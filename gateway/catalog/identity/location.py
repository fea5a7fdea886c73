"""Where in a request a credential can be: headers and cookies. Pure."""

from __future__ import annotations

from typing import Literal, NamedTuple

AUTHORIZATION, COOKIE, API_KEY = "Authorization", "Cookie", "X-Api-Key"

CredentialPrefix = Literal["skp_", "sk-", ""]
"""How a credential starts; "" is any start that no other kind of the app has in the same location."""


class CredentialLocation(NamedTuple):
    """A header by its canonical name in Go, or one cookie (`header` is then Cookie)."""

    header: str
    cookie: str = ""

    def __str__(self) -> str:
        return f"the cookie {self.cookie}" if self.cookie else self.header


PrefixedLocation = tuple[CredentialLocation, CredentialPrefix]
"""A location, and how the credentials start that are read from it."""


def canonical_header(name: str) -> str:
    """A header's name as Go spells it: `X-Api-Key`."""
    return "-".join(part[:1].upper() + part[1:].lower() for part in name.split("-"))
