"""The identity kinds of apps.json, one file each: keys, rules, and where the credential is in a request. Pure."""

from gateway.catalog.identity.header import HeaderIdentity
from gateway.catalog.identity.jwt import JwtIdentity
from gateway.catalog.identity.kind import IdentityKind
from gateway.catalog.identity.litellm_key import LiteLLMKeyIdentity
from gateway.catalog.identity.openwebui import OpenWebUIIdentity
from gateway.catalog.identity.registry import KINDS
from gateway.catalog.identity.user_key import UserKeyIdentity

__all__ = [
    "KINDS",
    "HeaderIdentity",
    "IdentityKind",
    "JwtIdentity",
    "LiteLLMKeyIdentity",
    "OpenWebUIIdentity",
    "UserKeyIdentity",
]
