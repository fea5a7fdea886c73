"""Identity kind → how its verifier is prepared. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gateway.access.identity import header, jwt, litellm_key, openwebui, user_key
from gateway.access.identity.verifier import PreparedVerifier, VerifierContext
from gateway.catalog.identity import (
    HeaderIdentity,
    JwtIdentity,
    LiteLLMKeyIdentity,
    OpenWebUIIdentity,
    UserKeyIdentity,
)

Prepare = Callable[[Any, VerifierContext], PreparedVerifier]
"""`(entry, context)`; the entry is an instance of the kind. Raises `ConfigError` for a secret that is missing."""

VERIFIERS: Mapping[str, Prepare] = {
    OpenWebUIIdentity.kind: openwebui.prepare,
    JwtIdentity.kind: jwt.prepare,
    HeaderIdentity.kind: header.prepare,
    LiteLLMKeyIdentity.kind: litellm_key.prepare,
    UserKeyIdentity.kind: user_key.prepare,
}
