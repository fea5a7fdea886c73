"""Lookups of `jwt`: reading the issuer's keys once more, for a token signed with a key that is not among them."""

from __future__ import annotations

from gateway.access.authentication import AuthenticatedUser, CredentialLookup
from gateway.access.identity.jwt import JwtVerifier
from gateway.app.identity.services import LookupServices
from gateway.errors import UpstreamFailed


async def look_up(services: LookupServices, verifier: JwtVerifier, lookup: CredentialLookup) -> AuthenticatedUser:
    answer = verifier.read(lookup.credential, lookup.source, services.now())
    if isinstance(answer, CredentialLookup):
        await services.key_sets.read(verifier.ring)
        answer = verifier.read(lookup.credential, lookup.source, services.now())
    if isinstance(answer, CredentialLookup):
        raise UpstreamFailed("The issuer's keys cannot be read.")
    return answer
