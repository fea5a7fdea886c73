"""Who is asking: the first credential present, in the app's own order, decides. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from gateway.access.cookies import AGAIN, cookie_finder
from gateway.access.kinds import Kind
from gateway.access.remembered import Remembered
from gateway.access.who import ANONYMOUS, Ask, Known, Refused, Who
from gateway.catalog import identity_headers
from gateway.catalog.identity_headers import AUTHORIZATION, Form, Place
from gateway.errors import NotAuthenticated

SESSION_COOKIE = f"cookie:{identity_headers.SESSION_COOKIE}"
"""The `source` of a credential in Open WebUI's cookie."""

Read = Callable[[bytes, str, int], Known | Ask]


def bearer(authorization: bytes) -> bytes | None:
    """The token of an `Authorization: Bearer`; None for another scheme, such as a proxy's Basic in front of the app.

    Raises `NotAuthenticated` if the header was sent twice.
    """
    if AGAIN in authorization:
        raise NotAuthenticated("the Authorization header was sent twice", code="duplicate_authorization")
    if authorization[:7].lower() == b"bearer ":
        return authorization[7:].strip(b" \t")
    return b"" if authorization.lower() == b"bearer" else None


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

    def reader(self, credential: bytes) -> Read | None:
        """Whoever takes what starts like this; None: it is no credential of this app's."""
        form: Form = "skp_" if credential[:4] == b"skp_" else "sk-" if credential[:3] == b"sk-" else ""
        return self.readers.get(form) or self.readers.get("")


def _look(place: Place) -> _Look:
    if place.cookie:
        return _Look(place.header.encode("ascii"), f"cookie:{place.cookie}", cookie_finder(place.cookie))
    find = bearer if place.header == AUTHORIZATION else plain
    return _Look(place.header.encode("ascii"), place.header.lower(), find)


class Identity:
    """The identity kinds of one app, ready to be asked. `kinds` are by their places in the app's list."""

    def __init__(self, kinds: Mapping[int, Kind], claims: Mapping[int, Iterable[tuple[Place, Form]]]) -> None:
        """`claims`: what each kind takes for its credential. A place is looked at where the first kind names it, and
        again where that is too soon for another: the app itself looks into its places in the order of its kind."""
        looks: list[_Look] = []
        last: dict[Place, int] = {}
        for number, kind in kinds.items():
            soonest = 0
            for place, form in claims[number]:
                if last.get(place, -1) < soonest:
                    last[place] = len(looks)
                    looks.append(_look(place))
                soonest = last[place]
                looks[soonest].readers.setdefault(form, kind.read)
        self.kinds = kinds
        self._looks = tuple(looks)
        self.request_headers = tuple(dict.fromkeys(place.header for place in last))
        self.cookie_names = tuple(place.cookie for place in last if place.cookie)
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
            try:
                credential = look.find(value)
                if credential is None:
                    continue
                read = look.reader(credential) if credential[:2] == b"sk" else look.readers.get("")
                if read is not None:
                    return read(credential, look.source, now)
            except NotAuthenticated as exc:
                return Refused(exc.code, exc.message, look.source)
        return ANONYMOUS
