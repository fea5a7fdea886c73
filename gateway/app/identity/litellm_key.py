"""Lookups of `litellm_key`: asking LiteLLM for the owner of a virtual key."""

from __future__ import annotations

from gateway.access.authentication import AuthenticatedUser, CredentialLookup
from gateway.access.identity.litellm_key import LiteLLMKeyVerifier
from gateway.access.introspection_cache import refusal
from gateway.app.identity.services import LookupServices
from gateway.errors import InvalidInput, UpstreamFailed
from gateway.litellm import check_litellm_id


async def look_up(
    services: LookupServices, verifier: LiteLLMKeyVerifier, lookup: CredentialLookup
) -> AuthenticatedUser:
    if services.litellm is None:
        raise UpstreamFailed("LITELLM_URL is not set.")
    owner = await services.litellm.key_holder(lookup.credential.decode("ascii"))
    if owner is None:
        raise refusal("unknown_key")
    try:
        check_litellm_id(owner.litellm_id)
    except InvalidInput as exc:
        raise refusal("unknown_key") from exc  # one of LiteLLM's own users, such as the owner of the master key
    return verifier.confirm(lookup, owner.litellm_id, services.now(), owner.expires_at)
