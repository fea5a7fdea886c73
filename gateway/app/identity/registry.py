"""Identity kind → how a credential is looked up at its issuer. Kinds that need no lookup have no row."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gateway.access.authentication import AuthenticatedUser, CredentialLookup
from gateway.app.identity import jwt, litellm_key, openwebui
from gateway.app.identity.services import LookupServices
from gateway.catalog.identity import JwtIdentity, LiteLLMKeyIdentity, OpenWebUIIdentity

LookUp = Callable[[LookupServices, Any, CredentialLookup], Awaitable[AuthenticatedUser]]
"""`(services, verifier, lookup)`; the verifier is the kind's own. Raises `NotAuthenticated` for a credential that is
invalid, and `UpstreamFailed` while the issuer does not answer."""

LOOKUPS: Mapping[str, LookUp] = {
    OpenWebUIIdentity.kind: openwebui.look_up,
    JwtIdentity.kind: jwt.look_up,
    LiteLLMKeyIdentity.kind: litellm_key.look_up,
}
