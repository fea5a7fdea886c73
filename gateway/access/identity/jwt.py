"""Verifier of `jwt`: tokens of an OpenID provider, signed with one of its published keys. Pure.

PyJWT verifies the signature; algorithm, key and claims are checked here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from jwt.algorithms import get_default_algorithms

from gateway.access import jwt
from gateway.access.authentication import AuthenticatedUser, CredentialLookup
from gateway.access.cookies import MAX_COOKIE_BYTES
from gateway.access.credential_cache import MAX_SECONDS, CredentialCache
from gateway.access.identity.verifier import CredentialVerifier, PreparedVerifier, VerifierContext
from gateway.access.introspection_cache import digest_of
from gateway.access.jwks import KeyRing
from gateway.access.user_id_mapping import UserIdMapping
from gateway.catalog.identity import JwtIdentity
from gateway.errors import NotAuthenticated

# Twice a session's: providers put groups and roles into them.
_MAX_TOKEN_BYTES = 16_384
# The first four would supply the key; the others change what is signed or how it is read.
_REFUSED_HEADERS = frozenset({"jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc"})
# Not logout, DPoP or event tokens, which are signed with the same keys.
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
# These issuers verify the address before they issue a token.
_VERIFIES_EMAIL = re.compile(r"https://[a-z0-9-]+\.cloudflareaccess\.com")
_ALGORITHMS = get_default_algorithms()


class JwtVerifier(CredentialVerifier):
    """Verifies tokens by `entry` and by the keys that `ring` contains at the moment."""

    kind: ClassVar[str] = JwtIdentity.kind

    def __init__(self, number: int, entry: JwtIdentity, user_ids: UserIdMapping, ring: KeyRing) -> None:
        self.ring = ring
        self._number = number
        self._entry = entry
        self._user_ids = user_ids
        self._credential_cache = CredentialCache()
        self._generation = ring.generation

    @property
    def credential_caches(self) -> tuple[CredentialCache, ...]:
        return (self._credential_cache,)

    def read(self, credential: bytes, source: str, now: int) -> AuthenticatedUser | CredentialLookup:
        try:
            return self._read(credential, source, now)
        except NotAuthenticated as exc:
            if exc.code == "malformed_token" and source.startswith("cookie:"):
                exc.app_may_accept = self._is_valid_when_lenient(credential, source, now)
            raise

    def _is_valid_when_lenient(self, credential: bytes, source: str, now: int) -> bool:
        """Whether a less strict parser, as the app may have one, would accept the token. True for a cookie longer than
        browsers store: a program sent it, so it cannot be another site's."""
        if len(credential) > MAX_COOKIE_BYTES:
            return True
        lenient_form = jwt.lenient_form(credential)
        try:
            return lenient_form != credential and bool(self._read(lenient_form, source, now))
        except NotAuthenticated:
            return False

    def _read(self, credential: bytes, source: str, now: int) -> AuthenticatedUser | CredentialLookup:
        if self.ring.generation != self._generation:
            # Tokens that a removed key verified are invalid (T32).
            self._credential_cache, self._generation = CredentialCache(), self.ring.generation
        digest = digest_of(credential)
        cached = self._credential_cache.get(digest, now)
        if cached is not None:
            return cached
        parts = jwt.split_token(credential, _MAX_TOKEN_BYTES)
        algorithm, key_id = self._check_header(jwt.read_object(parts.header))
        signature = jwt.b64url_decode(parts.signature)
        claims = jwt.read_object(parts.payload)
        until = self._check_claims(claims, now)
        keys = self.ring.find(algorithm, key_id)
        if not keys:
            if not self.ring.current or self.ring.may_refetch(now):
                return CredentialLookup(self.kind, self._number, credential, source)
            raise NotAuthenticated("the token was signed with a key that its issuer does not name", code="unknown_key")
        if not any(_ALGORITHMS[algorithm].verify(parts.signed, key.key, signature) for key in keys):
            raise NotAuthenticated("the token's signature does not verify", code="wrong_signature")
        user_id = self._user(claims)
        self._credential_cache.put(digest, user_id, until)
        return AuthenticatedUser(user_id, until)

    def _check_header(self, header: Mapping[str, object]) -> tuple[str, str | None]:
        """The algorithm and the key's id."""
        algorithm, key_id, typ = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
        if not isinstance(algorithm, str) or algorithm not in self._entry.algorithms:
            raise NotAuthenticated("the token is not signed as this app expects", code="wrong_algorithm")
        if _REFUSED_HEADERS & header.keys():
            raise NotAuthenticated("the token brings its own key or rules along", code="wrong_algorithm")
        if not isinstance(typ, str) or typ.lower() not in _TYPES:
            raise NotAuthenticated("this kind of token is not for signing in", code="wrong_token_type")
        if not isinstance(key_id, str | None):
            raise jwt.malformed()
        return algorithm, key_id

    def _check_claims(self, claims: Mapping[str, object], now: int) -> int:
        """The second at which the token must be verified anew."""
        if claims.get("iss") != self._entry.issuer:
            raise NotAuthenticated("the token is another issuer's", code="wrong_issuer")
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if self._entry.audience not in audiences or not all(isinstance(each, str) for each in audiences):
            raise NotAuthenticated("the token is for another app", code="wrong_audience")
        expires_at, issued_at = jwt.check_times(claims, now), jwt.instant(claims, "iat")
        if expires_at is None:
            raise NotAuthenticated("the token has no end", code="malformed_token")
        if issued_at is not None and now < issued_at - jwt.SKEW_SECONDS:
            raise NotAuthenticated("the token is not valid yet", code="early_token")
        return min(now + MAX_SECONDS, expires_at + jwt.SKEW_SECONDS)

    def _user(self, claims: Mapping[str, object]) -> str:
        verified = claims.get("email_verified", bool(_VERIFIES_EMAIL.fullmatch(self._entry.issuer)))
        if self._entry.claim == "email" and verified is not True:
            # Anybody can sign up with another person's address.
            raise NotAuthenticated("the e-mail address is not verified", code="email_unverified")
        return self._user_ids.of(claims.get(self._entry.claim))


def prepare(entry: JwtIdentity, context: VerifierContext) -> PreparedVerifier:
    arguments = (context.number, entry, context.user_ids, context.key_ring(entry.jwks_url))
    return PreparedVerifier(arguments, partial(JwtVerifier, *arguments))
