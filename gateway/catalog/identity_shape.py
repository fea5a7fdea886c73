"""The shape of one entry of apps.json's `identity`. Pure.

One object for all kinds: which keys belong to which kind is told by `identity_rules`, one problem for each key.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from gateway.catalog import identity_rules, values
from gateway.catalog.leaves import Leaf, Origin, SecretText, Shape, WebUrl

Algorithm = Annotated[
    Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"],
    Leaf('an algorithm with a public key, such as "RS256"'),
]


class IdentityShape(Shape):
    """One way to find the user in a request; the first credential that is present decides."""

    model_config = ConfigDict(json_schema_extra=identity_rules.identity_kind_schema())
    kind: Annotated[
        Literal["openwebui", "jwt", "header", "litellm_key", "user_key"],
        Leaf('one of "openwebui", "jwt", "header", "litellm_key", "user_key"'),
    ] = Field(
        description="openwebui: Open WebUI's own sign-in. jwt: tokens of an OpenID provider. header: one that a "
        "Traefik middleware sets. litellm_key: LiteLLM's virtual keys. user_key: keys made with skpay keys create."
    )
    namespace: Annotated[
        str | None,
        Field(
            pattern=r"^[a-z0-9-]{0,32}$",
            description='Goes before the ids found here, as "namespace:id"; "" is the app\'s own ids.',
        ),
        Leaf('"", or a-z, 0-9 and -, 32 characters at most'),
    ] = None
    secret: SecretText | None = Field(None, description="openwebui: where its WEBUI_SECRET_KEY is.")
    introspect: Origin | None = Field(
        None,
        description="openwebui: where it is asked about each session and API key, so that what it revokes is refused.",
    )
    admins: Annotated[Literal["pass"] | None, Leaf('"pass"')] = Field(
        None,
        description="openwebui, with introspect: pass lets people with its role admin through every rule of routes.",
    )
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
