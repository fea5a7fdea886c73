"""Who is asking: the first credential present, in the app's own order, decides. Pure."""

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


# Programs that have no token send these all the same; Open WebUI's page does so while nobody is signed in.
_PLACEHOLDER_TOKENS = frozenset({b"", b"undefined", b"null"})
# Cookies of one name that are verified to tell what the app may do; each may cost a signature.
_MAX_COOKIES_VERIFIED = 4


def _hides_token(authorization: bytes) -> bool:
    """A key, or one token that has dots as a JWT has: no Basic, Digest or Negotiate looks like that."""
    if authorization[:3] == b"sk-" or b" sk-" in authorization or b"=sk-" in authorization:
        return True
    scheme, _, rest = authorization.partition(b" ")
    return bool(scheme) and b" " not in rest and 0 < rest.find(b".") < len(rest) - 1


def bearer(authorization: bytes) -> bytes | None:
    """The token of an `Authorization: Bearer`; None if there is none, or only the words `undefined` or `null`; and for
    another scheme, such as a proxy's Basic in front of the app.

    Raises `NotAuthenticated` if the header was sent twice.
    """
    if REPEATED_HEADER_SEPARATOR in authorization:
        raise NotAuthenticated("the Authorization header was sent twice", code="duplicate_authorization")
    if authorization[:7].lower() == b"bearer ":
        token = authorization[7:].strip(b" \t")
        return None if token in _PLACEHOLDER_TOKENS else token
    return None


def strict_bearer(authorization: bytes) -> bytes | None:
    """The same, for Open WebUI and LiteLLM, which take tokens and keys under other schemes as well: those raise, or the
    gate would go on to another credential than the app."""
    token = bearer(authorization)
    if token is None and authorization[:7].lower() != b"bearer " and _hides_token(authorization):
        raise NotAuthenticated("a token must be sent as a Bearer", code="wrong_scheme")
    return token


def plain(value: bytes) -> bytes | None:
    """A header that is nothing but the credential; None where it is empty. Raises `NotAuthenticated` if it was sent
    twice."""
    if REPEATED_HEADER_SEPARATOR in value:
        raise NotAuthenticated("a header with a credential was sent twice", code="duplicate_header")
    return value or None


@dataclass(slots=True)
class _CredentialLocation:
    """One place where credentials may stand, how each is taken out of it, and who reads it by how it starts."""

    header: bytes
    source: str
    find: Callable[[bytes], bytes | None]
    readers: dict[CredentialPrefix, Read] = field(default_factory=dict)
    is_cookie: bool = False

    def reader(self, credential: bytes) -> Read | None:
        """Whoever takes what starts like this; None: it is no credential of this app's."""
        form: CredentialPrefix = "skp_" if credential[:4] == b"skp_" else "sk-" if credential[:3] == b"sk-" else ""
        return self.readers.get(form) or self.readers.get("")

    def any_cookie_accepted(self, lines: bytes, now: int) -> bool:
        """Whether the app may take one of several cookies of this name for its user's."""
        values = raw_values(self.source.removeprefix("cookie:").encode("ascii"), lines)
        return len(values) > _MAX_COOKIES_VERIFIED or any(self._app_may_accept(value, now) for value in values)

    def _app_may_accept(self, raw: bytes, now: int) -> bool:
        try:
            credential = cookie_value(raw)
            read = None if credential is None else self.reader(credential)
            return credential is not None and read is not None and bool(read(credential, self.source, now))
        except NotAuthenticated as exc:
            return not RejectedCredential(exc.code, exc.message, self.source, exc.app_may_accept).signed_out


def _look(
    place: CredentialLocation, find_bearer: Callable[[bytes], bytes | None], kind: CredentialVerifier
) -> _CredentialLocation:
    if place.cookie:
        find = cookie_finder(place.cookie, last_counts=kind.last_cookie_counts)
        return _CredentialLocation(place.header.encode("ascii"), f"cookie:{place.cookie}", find, is_cookie=True)
    find = find_bearer if place.header == AUTHORIZATION else plain
    return _CredentialLocation(place.header.encode("ascii"), place.header.lower(), find)


class Authenticator:
    """The identity kinds of one app, ready to be asked. `kinds` are by their places in the app's list."""

    def __init__(
        self,
        kinds: Mapping[int, CredentialVerifier],
        credential_places: Mapping[int, Iterable[PrefixedLocation]],
    ) -> None:
        """`credential_places`: what each kind takes for its credential. A place is read where the first kind names it,
        and again where that is too soon for another: the app itself reads its places in the order of its kind."""
        other_schemes = any(kind.app_reads_other_schemes for kind in kinds.values())
        looks: list[_CredentialLocation] = []
        last: dict[CredentialLocation, int] = {}
        cookie_kinds: list[CredentialVerifier] = []
        for number, kind in kinds.items():
            soonest = 0
            for place, form in credential_places[number]:
                if last.get(place, -1) < soonest:
                    last[place] = len(looks)
                    looks.append(_look(place, strict_bearer if other_schemes else bearer, kind))
                soonest = last[place]
                looks[soonest].readers.setdefault(form, kind.read)
                if place.cookie:
                    cookie_kinds.append(kind)
        self.verifiers = kinds
        self._locations = tuple(looks)
        self.request_headers = tuple(dict.fromkeys(place.header for place in last))
        self.cookie_names = tuple(place.cookie for place in last if place.cookie)
        self.cookie_kinds = tuple(cookie_kinds)
        self.sessions = SessionCounts() if self.cookie_names else None
        self._headers = frozenset(name.encode("ascii") for name in self.request_headers)

    @property
    def credential_caches(self) -> tuple[CredentialCache, ...]:
        """All that its kinds remember."""
        return tuple(memory for kind in dict.fromkeys(self.verifiers.values()) for memory in kind.credential_caches)

    def may_have_credential(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether one may stand in any of these."""
        return not self._headers.isdisjoint(headers)

    def authenticate(self, headers: Mapping[bytes, bytes], now: int) -> AuthenticationOrLookup:
        """Whom the first credential present belongs to. One present that does not verify never falls through (T29).

        `headers` by the names that Go gives them; repeated values are joined by
        `REPEATED_HEADER_SEPARATOR`.
        """
        for look in self._locations:
            value = headers.get(look.header)
            if value is None:
                continue
            credential = None
            try:
                credential = look.find(value)
                if credential is None:
                    continue
                read = look.reader(credential) if credential[:2] == b"sk" else look.readers.get("")
                if read is not None:
                    answer = read(credential, look.source, now)
                    if look.is_cookie and isinstance(answer, AuthenticatedUser) and self.sessions is not None:
                        self.sessions.verified(credential, now)
                    return answer
            except NotAuthenticated as exc:
                if look.is_cookie and exc.code in MISCONFIGURATION_CODES and credential and self.sessions is not None:
                    self.sessions.failed(credential, now)
                accepted = exc.app_may_accept or (exc.code == DUPLICATE and look.any_cookie_accepted(value, now))
                return RejectedCredential(exc.code, exc.message, look.source, accepted)
        return ANONYMOUS

    def credential_source(self, headers: Mapping[bytes, bytes]) -> str | None:
        """Where the credential stands that `who` goes by; None if there is none."""
        for look in self._locations:
            try:
                credential = look.find(headers.get(look.header, b""))
            except NotAuthenticated:
                return look.source
            if credential is not None and look.reader(credential) is not None:
                return look.source
        return None

    def continue_session_counts(self, before: Authenticator) -> None:
        """Go on with the counts of the same app before a reload, where nothing has changed that cookies are verified
        by."""
        if before.cookie_names == self.cookie_names and before.cookie_kinds == self.cookie_kinds:
            self.sessions = before.sessions
