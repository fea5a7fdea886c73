"""Who is asking: the first credential present, in the app's own order, decides. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from gateway.access.cookies import AGAIN, DUPLICATE, cookie_finder, cookie_value, raw_values
from gateway.access.kinds import Kind
from gateway.access.litellm_keys import LiteLLMKeys
from gateway.access.openwebui import OpenWebUI
from gateway.access.remembered import Remembered
from gateway.access.session_counts import EVIDENCE, SessionCounts
from gateway.access.who import ANONYMOUS, Ask, Known, Refused, Who
from gateway.catalog import identity_headers
from gateway.catalog.identity_headers import AUTHORIZATION, Form, Place
from gateway.errors import NotAuthenticated

SESSION_COOKIE = f"cookie:{identity_headers.SESSION_COOKIE}"
"""The `source` of a credential in Open WebUI's cookie."""

Read = Callable[[bytes, str, int], Known | Ask]


# Programs that have no token send these all the same; Open WebUI's page does so while nobody is signed in.
_NO_TOKENS = frozenset({b"", b"undefined", b"null"})
# Cookies of one name that are verified to tell what the app may do; each may cost a signature.
_MAX_JUDGED = 4


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
    if AGAIN in authorization:
        raise NotAuthenticated("the Authorization header was sent twice", code="duplicate_authorization")
    if authorization[:7].lower() == b"bearer ":
        token = authorization[7:].strip(b" \t")
        return None if token in _NO_TOKENS else token
    return None


def bearer_alone(authorization: bytes) -> bytes | None:
    """The same, for Open WebUI and LiteLLM, which take tokens and keys under other schemes as well: those raise, or the
    gate would go on to another credential than the app."""
    token = bearer(authorization)
    if token is None and authorization[:7].lower() != b"bearer " and _hides_token(authorization):
        raise NotAuthenticated("a token must be sent as a Bearer", code="wrong_scheme")
    return token


def plain(value: bytes) -> bytes | None:
    """A header that is nothing but the credential; None where it is empty. Raises `NotAuthenticated` if it was sent
    twice."""
    if AGAIN in value:
        raise NotAuthenticated("a header with a credential was sent twice", code="duplicate_header")
    return value or None


@dataclass(slots=True)
class _Look:
    """One place where credentials may stand, how each is taken out of it, and who reads it by how it starts."""

    header: bytes
    source: str
    find: Callable[[bytes], bytes | None]
    readers: dict[Form, Read] = field(default_factory=dict)
    is_cookie: bool = False

    def reader(self, credential: bytes) -> Read | None:
        """Whoever takes what starts like this; None: it is no credential of this app's."""
        form: Form = "skp_" if credential[:4] == b"skp_" else "sk-" if credential[:3] == b"sk-" else ""
        return self.readers.get(form) or self.readers.get("")

    def any_good(self, lines: bytes, now: int) -> bool:
        """Whether the app may take one of several cookies of this name for its user's."""
        values = raw_values(self.source.removeprefix("cookie:").encode("ascii"), lines)
        return len(values) > _MAX_JUDGED or any(self._may_be_accepted(value, now) for value in values)

    def _may_be_accepted(self, raw: bytes, now: int) -> bool:
        try:
            credential = cookie_value(raw)
            read = None if credential is None else self.reader(credential)
            return credential is not None and read is not None and bool(read(credential, self.source, now))
        except NotAuthenticated as exc:
            return not Refused(exc.code, exc.message, self.source, exc.may_be_accepted).signed_out


def _look(place: Place, find_bearer: Callable[[bytes], bytes | None], kind: Kind) -> _Look:
    if place.cookie:
        find = cookie_finder(place.cookie, last_counts=isinstance(kind, OpenWebUI))
        return _Look(place.header.encode("ascii"), f"cookie:{place.cookie}", find, is_cookie=True)
    find = find_bearer if place.header == AUTHORIZATION else plain
    return _Look(place.header.encode("ascii"), place.header.lower(), find)


class Identity:
    """The identity kinds of one app, ready to be asked. `kinds` are by their places in the app's list."""

    def __init__(self, kinds: Mapping[int, Kind], claims: Mapping[int, Iterable[tuple[Place, Form]]]) -> None:
        """`claims`: what each kind takes for its credential. A place is looked at where the first kind names it, and
        again where that is too soon for another: the app itself looks into its places in the order of its kind."""
        other_schemes = any(isinstance(kind, OpenWebUI | LiteLLMKeys) for kind in kinds.values())
        looks: list[_Look] = []
        last: dict[Place, int] = {}
        cookie_kinds: list[Kind] = []
        for number, kind in kinds.items():
            soonest = 0
            for place, form in claims[number]:
                if last.get(place, -1) < soonest:
                    last[place] = len(looks)
                    looks.append(_look(place, bearer_alone if other_schemes else bearer, kind))
                soonest = last[place]
                looks[soonest].readers.setdefault(form, kind.read)
                if place.cookie:
                    cookie_kinds.append(kind)
        self.kinds = kinds
        self._looks = tuple(looks)
        self.request_headers = tuple(dict.fromkeys(place.header for place in last))
        self.cookie_names = tuple(place.cookie for place in last if place.cookie)
        self.cookie_kinds = tuple(cookie_kinds)
        self.sessions = SessionCounts() if self.cookie_names else None
        self._headers = frozenset(name.encode("ascii") for name in self.request_headers)

    @property
    def memories(self) -> tuple[Remembered, ...]:
        """All that its kinds remember."""
        return tuple(memory for kind in dict.fromkeys(self.kinds.values()) for memory in kind.memories)

    def holds_credential(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether one may stand in any of these."""
        return not self._headers.isdisjoint(headers)

    def who(self, headers: Mapping[bytes, bytes], now: int) -> Who:
        """Whom the first credential present belongs to. One present that does not verify never falls through (T29).

        `headers` by the names that Go gives them; one sent more than once has its values joined by `AGAIN`.
        """
        for look in self._looks:
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
                    if look.is_cookie and isinstance(answer, Known) and self.sessions is not None:
                        self.sessions.verified(credential, now)
                    return answer
            except NotAuthenticated as exc:
                if look.is_cookie and exc.code in EVIDENCE and credential and self.sessions is not None:
                    self.sessions.failed(credential, now)
                accepted = exc.may_be_accepted or (exc.code == DUPLICATE and look.any_good(value, now))
                return Refused(exc.code, exc.message, look.source, accepted)
        return ANONYMOUS

    def decides(self, headers: Mapping[bytes, bytes]) -> str | None:
        """Where the credential stands that `who` goes by; None if there is none."""
        for look in self._looks:
            try:
                credential = look.find(headers.get(look.header, b""))
            except NotAuthenticated:
                return look.source
            if credential is not None and look.reader(credential) is not None:
                return look.source
        return None

    def go_on_counting(self, before: Identity) -> None:
        """Go on with the counts of the same app before a reload, where nothing has changed that cookies are verified
        by."""
        if before.cookie_names == self.cookie_names and before.cookie_kinds == self.cookie_kinds:
            self.sessions = before.sessions
