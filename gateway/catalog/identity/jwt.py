"""The identity kind `jwt`: tokens of an OpenID provider. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gateway.catalog import values
from gateway.catalog.identity.kind import IdentityEntry, IdentityKind
from gateway.catalog.identity.location import (
    AUTHORIZATION,
    COOKIE,
    CredentialLocation,
    PrefixedLocation,
    canonical_header,
)
from gateway.catalog.leaves import Leaf, WebUrl
from gateway.catalog.tree import Raw

_DEFAULT_ALGORITHMS = ("RS256", "ES256", "EdDSA")
Algorithm = Annotated[
    Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"],
    Leaf('an algorithm with a public key, such as "RS256"'),
]


class JwtEntry(IdentityEntry):
    """The keys of this kind."""

    issuer: Annotated[
        str | None,
        Field(min_length=1, max_length=500, description="jwt: the iss of its tokens, byte for byte."),
        Leaf('an issuer, such as "https://sso.example.com/realms/main"', values.text_problem),
    ] = None
    audience: Annotated[
        str | None,
        Field(min_length=1, max_length=500, description="jwt: what its tokens' aud is or holds."),
        Leaf('an audience, such as "skai"', values.text_problem),
    ] = None
    jwks_url: WebUrl | None = Field(None, description="jwt: where its public keys are.")
    algorithms: list[Algorithm] | None = Field(
        None, min_length=1, max_length=10, description="jwt: left out: RS256, ES256 and EdDSA."
    )
    header: Annotated[
        str | None,
        Field(
            max_length=64,
            description="jwt: the header that holds it; Authorization (as Bearer) unless a cookie is named.",
        ),
        Leaf('a header, such as "Cf-Access-Jwt-Assertion"', values.header_name_problem),
    ] = None
    cookie: Annotated[
        str | None,
        Field(pattern=r"^[A-Za-z0-9_.-]{1,100}$", description="jwt: the cookie that holds it."),
        Leaf('a cookie\'s name, such as "CF_Authorization"'),
    ] = None
    claim: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=100,
            description="jwt: the claim that is the user's id, which no user may be able to change; sub if left out.",
        ),
        Leaf('a claim, such as "sub"', values.text_problem),
    ] = None


@dataclass(frozen=True, slots=True)
class JwtIdentity(IdentityKind):
    """The token is in a header (`Authorization`: as Bearer), a cookie or both."""

    kind: ClassVar[str] = "jwt"
    summary: ClassVar[str] = "tokens of an OpenID provider"
    entry: ClassVar = JwtEntry
    required: ClassVar = {
        "issuer": "the iss of its tokens",
        "audience": "the aud of its tokens; without it, tokens for other apps would be accepted",
        "jwks_url": "the URL of its public keys",
    }
    optional: ClassVar = ("algorithms", "header", "cookie", "claim", "namespace")

    issuer: str
    audience: str
    jwks_url: str
    algorithms: tuple[str, ...]
    header: str | None
    cookie: str | None
    claim: str = "sub"
    namespace: str = ""

    @classmethod
    def from_entry(cls, entry: JwtEntry) -> JwtIdentity:
        return cls(
            issuer=entry.issuer or "",
            audience=entry.audience or "",
            jwks_url=entry.jwks_url or "",
            algorithms=tuple(entry.algorithms or _DEFAULT_ALGORITHMS),
            header=AUTHORIZATION if entry.header is None and entry.cookie is None else entry.header,
            cookie=entry.cookie,
            claim=entry.claim or "sub",
            namespace=entry.namespace or "",
        )

    @classmethod
    def entry_locations(cls, entry: Raw) -> Iterator[PrefixedLocation]:
        return _locations(entry.get("header"), entry.get("cookie"))

    def locations(self) -> Iterator[PrefixedLocation]:
        return _locations(self.header, self.cookie)

    @property
    def key_set_url(self) -> str:
        return self.jwks_url


def _locations(header: object, cookie: object) -> Iterator[PrefixedLocation]:
    if isinstance(header, str) or not isinstance(cookie, str):
        name = header if isinstance(header, str) else AUTHORIZATION
        yield CredentialLocation(canonical_header(name or AUTHORIZATION)), ""
    if isinstance(cookie, str):
        yield CredentialLocation(COOKIE, cookie), ""
