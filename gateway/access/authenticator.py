"""Authenticates a request: the first credential present, in the app's own order, decides. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from gateway.access.authentication import (
    ANONYMOUS,
    AuthenticatedUser,
    AuthenticationOrLookup,
    CredentialLookup,
    RejectedCredential,
)
from gateway.access.cookies import DUPLICATE, REPEATED_HEADER_SEPARATOR, cookie_finder, cookie_value, raw_values
from gateway.access.credential_cache import CredentialCache
from gateway.access.identity.verifier import CredentialVerifier
from gateway.access.session_counts import MISCONFIGURATION_CODES, SessionCounts
from gateway.catalog.identity.location import AUTHORIZATION, CredentialLocation, CredentialPrefix, PrefixedLocation
from gateway.errors import NotAuthenticated

Read = Callable[[bytes, str, int], AuthenticatedUser | CredentialLookup]

# Programs without a token send these; Open WebUI's page does so while the user is not signed in.
_PLACEHOLDER_TOKENS = frozenset({b"", b"undefined", b"null"})
# Cookies of one name that are verified to find out what the app may accept; each may take a signature check.
_MAX_COOKIES_VERIFIED = 4


def _hides_token(authorization: bytes) -> bool:
    """Whether it contains a key, or one token with dots like a JWT: Basic, Digest and Negotiate never do."""
    if authorization[:3] == b"sk-" or b" sk-" in authorization or b"=sk-" in authorization:
        return True
    scheme, _, rest = authorization.partition(b" ")
    return bool(scheme) and b" " not in rest and 0 < rest.find(b".") < len(rest) - 1


def bearer(authorization: bytes) -> bytes | None:
    """The token of an `Authorization: Bearer`; None if it is empty, `undefined` or `null`, or if the scheme is another
    one, such as Basic for a proxy in front of the app.

    Raises `NotAuthenticated` if the header was sent twice.
    """
    if REPEATED_HEADER_SEPARATOR in authorization:
        raise NotAuthenticated("the Authorization header was sent twice", code="duplicate_authorization")
    if authorization[:7].lower() == b"bearer ":
        token = authorization[7:].strip(b" \t")
        return None if token in _PLACEHOLDER_TOKENS else token
    return None


def strict_bearer(authorization: bytes) -> bytes | None:
    """`bearer` for apps that also read tokens and keys under other schemes: those raise, or the gate would continue to
    another credential than the app uses."""
    token = bearer(authorization)
    if token is None and authorization[:7].lower() != b"bearer " and _hides_token(authorization):
        raise NotAuthenticated("a token must be sent as a Bearer", code="wrong_scheme")
    return token


def plain(value: bytes) -> bytes | None:
    """The value of a header that contains only the credential; None if it is empty. Raises `NotAuthenticated` if the
    header was sent twice."""
    if REPEATED_HEADER_SEPARATOR in value:
        raise NotAuthenticated("a header with a credential was sent twice", code="duplicate_header")
    return value or None


@dataclass(slots=True)
class _Location:
    """One location of credentials: how one is extracted, and which verifier reads it, by its prefix."""

    header: bytes
    source: str
    find: Callable[[bytes], bytes | None]
    readers: dict[CredentialPrefix, Read] = field(default_factory=dict)
    is_cookie: bool = False

    def reader(self, credential: bytes) -> Read | None:
        """The verifier's `read` for a credential with this prefix; None: it is not a credential for this app."""
        prefix: CredentialPrefix = "skp_" if credential[:4] == b"skp_" else "sk-" if credential[:3] == b"sk-" else ""
        return self.readers.get(prefix) or self.readers.get("")

    def any_cookie_accepted(self, lines: bytes, now: int) -> bool:
        """Whether the app may accept one of several cookies of this name."""
        values = raw_values(self.source.removeprefix("cookie:").encode("ascii"), lines)
        return len(values) > _MAX_COOKIES_VERIFIED or any(self._app_may_accept(value, now) for value in values)

    def _app_may_accept(self, raw: bytes, now: int) -> bool:
        try:
            credential = cookie_value(raw)
            read = None if credential is None else self.reader(credential)
            return credential is not None and read is not None and bool(read(credential, self.source, now))
        except NotAuthenticated as exc:
            return not RejectedCredential(exc.code, exc.message, self.source, exc.app_may_accept).signed_out


def _location(
    of: CredentialLocation, find_bearer: Callable[[bytes], bytes | None], verifier: CredentialVerifier
) -> _Location:
    if of.cookie:
        find = cookie_finder(of.cookie, last_counts=verifier.last_cookie_counts)
        return _Location(of.header.encode("ascii"), f"cookie:{of.cookie}", find, is_cookie=True)
    find = find_bearer if of.header == AUTHORIZATION else plain
    return _Location(of.header.encode("ascii"), of.header.lower(), find)


class Authenticator:
    """The verifiers of one app, by the places of their entries in the app's `identity`."""

    def __init__(
        self,
        verifiers: Mapping[int, CredentialVerifier],
        locations: Mapping[int, Iterable[PrefixedLocation]],
    ) -> None:
        """`locations`: where the credentials of each entry are. A location is read where the first entry names it, and
        once more where that is too early for another: the app itself reads the locations of a kind in their order."""
        other_schemes = any(verifier.app_reads_other_schemes for verifier in verifiers.values())
        found: list[_Location] = []
        last: dict[CredentialLocation, int] = {}
        cookie_verifiers: list[CredentialVerifier] = []
        for number, verifier in verifiers.items():
            earliest = 0
            for location, prefix in locations[number]:
                if last.get(location, -1) < earliest:
                    last[location] = len(found)
                    found.append(_location(location, strict_bearer if other_schemes else bearer, verifier))
                earliest = last[location]
                found[earliest].readers.setdefault(prefix, verifier.read)
                if location.cookie:
                    cookie_verifiers.append(verifier)
        self.verifiers = verifiers
        self._locations = tuple(found)
        self.request_headers = tuple(dict.fromkeys(location.header for location in last))
        self.cookie_names = tuple(location.cookie for location in last if location.cookie)
        self.cookie_verifiers = tuple(cookie_verifiers)
        self.sessions = SessionCounts() if self.cookie_names else None
        self._headers = frozenset(name.encode("ascii") for name in self.request_headers)

    @property
    def credential_caches(self) -> tuple[CredentialCache, ...]:
        """The caches of all verifiers."""
        return tuple(cache for each in dict.fromkeys(self.verifiers.values()) for cache in each.credential_caches)

    def may_have_credential(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether any of these headers may contain a credential."""
        return not self._headers.isdisjoint(headers)

    def authenticate(self, headers: Mapping[bytes, bytes], now: int) -> AuthenticationOrLookup:
        """The user of the first credential present. If it does not verify, later ones are not tried (T29).

        `headers` by their canonical names in Go; repeated values are joined by `REPEATED_HEADER_SEPARATOR`.
        """
        for location in self._locations:
            value = headers.get(location.header)
            if value is None:
                continue
            credential = None
            try:
                credential = location.find(value)
                if credential is None:
                    continue
                read = location.reader(credential) if credential[:2] == b"sk" else location.readers.get("")
                if read is not None:
                    answer = read(credential, location.source, now)
                    if location.is_cookie and isinstance(answer, AuthenticatedUser) and self.sessions is not None:
                        self.sessions.verified(credential, now)
                    return answer
            except NotAuthenticated as exc:
                if (
                    location.is_cookie
                    and exc.code in MISCONFIGURATION_CODES
                    and credential
                    and self.sessions is not None
                ):
                    self.sessions.failed(credential, now)
                accepted = exc.app_may_accept or (exc.code == DUPLICATE and location.any_cookie_accepted(value, now))
                return RejectedCredential(exc.code, exc.message, location.source, accepted)
        return ANONYMOUS

    def credential_source(self, headers: Mapping[bytes, bytes]) -> str | None:
        """The source of the credential that `authenticate` uses; None if there is none."""
        for location in self._locations:
            try:
                credential = location.find(headers.get(location.header, b""))
            except NotAuthenticated:
                return location.source
            if credential is not None and location.reader(credential) is not None:
                return location.source
        return None

    def continue_session_counts(self, before: Authenticator) -> None:
        """Keep the counts of the same app from before a reload if the verifiers of cookies are the same."""
        if before.cookie_names == self.cookie_names and before.cookie_verifiers == self.cookie_verifiers:
            self.sessions = before.sessions
