"""Cache of authorised requests by their bytes, so that the next one needs no parser.

Two calls of one Traefik hardly differ. Go writes headers in alphabetical order, so what depends on the client (address,
credentials, what it accepts) comes first, up to `X-Forwarded-Host`; after that only the path changes. When a request
has passed the full parser, both parts are kept. A request of two known parts needs no parser, no digest of its token
and no header lookup, which takes a third of the time.

A hit is exact: the full parser would read the same request. Each part is whole lines of a request that the `Reader`
accepted, and HTTP/1.1 is parsed line by line. Neither part has a header that changes how other lines are read. The
suffix has each of its headers once, and none of them is in the prefix or may hold a credential. The path is plain, and
the bytes before it are those that Traefik writes. `bench/request_cache.py` compares hits with the full parser.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from gateway.access.authentication import Anonymous, AuthenticatedUser
from gateway.access.paths import is_plain, plain_path
from gateway.access.policy import Allow
from gateway.access.table import TierTable
from gateway.gate.allow_response import AllowResponses, user_header_lines
from gateway.gate.prepared_app import PreparedApp
from gateway.gate.reader import MAX_HEADERS
from gateway.gate.request import HOST, PLUGIN, URI
from gateway.metrics import Value

MAX_PREFIXES = 8192  # of 2 kB or so each
MAX_SUFFIXES = 1024
MAX_BYTES = 8192

_HOST_LINE = b"\n" + HOST + b": "
_URI_LINE = b"\n" + URI + b": "
_END = b"\r\n\r\n"
_REQUIRED_HEADERS = frozenset({b"x-forwarded-host", b"x-forwarded-method", b"x-forwarded-uri", b"x-sk-gate"})
SUFFIX_HEADERS = _REQUIRED_HEADERS | {
    b"x-forwarded-port", b"x-forwarded-proto", b"x-forwarded-server", b"accept-encoding", b"x-real-ip", PLUGIN.lower(),
}  # fmt: skip
"""The headers that a suffix may have, each once. apps.json cannot name them for a credential."""
# The prefix must have none of those, and none that says where a request or its connection ends.
_NOT_IN_PREFIX = SUFFIX_HEADERS | {
    b"connection", b"proxy-connection", b"upgrade", b"content-length", b"transfer-encoding",
}  # fmt: skip
# With any suffix, such a prefix stays within the parser's limit.
_MAX_PREFIX_HEADERS = MAX_HEADERS - len(SUFFIX_HEADERS)


class _CachedPrefix:
    """The first part of a client's requests to one app. `authentication` is valid until `until` (epoch seconds).

    `response` is the last one for a path that every user may open. It is valid from `since` to `valid_until`, while
    the tier table has this `version`.
    """

    __slots__ = (
        "app",
        "authentication",
        "counter",
        "response",
        "since",
        "until",
        "user_id",
        "user_lines",
        "valid_until",
        "version",
    )

    def __init__(self, app: PreparedApp, authentication: AuthenticatedUser | Anonymous) -> None:
        self.app = app
        self.authentication = authentication
        user = authentication if isinstance(authentication, AuthenticatedUser) else None
        until = None if user is None else user.credential_expires_at
        self.user_id = None if user is None else user.user_id
        self.until = math.inf if until is None else until
        self.user_lines = user_header_lines(self.user_id)
        self.version = -1
        self.since = self.valid_until = 0.0
        self.counter = Value()
        self.response = b""


# The rest without the path: the app's host, a method, the gate's secret, and whether the plugin sent it.
_CachedSuffix = tuple[PreparedApp, str, bool]


class RequestCache:
    """Cache of authorised request parts; cleared when apps, keys or secrets change.

    `report_if_new(app_id, user_id)` is called for a user who is not in the table; if its result is not None, the user's
    requests must wait.
    """

    def __init__(
        self,
        table: TierTable,
        report_if_new: Callable[[str, str], object],
        responses: AllowResponses,
        clock: Callable[[], float],
    ) -> None:
        self._table = table
        self._report_if_new = report_if_new
        self._responses = responses
        self._clock = clock
        self._prefixes: dict[bytes, _CachedPrefix] = {}
        self._suffixes: dict[tuple[bytes, bytes], _CachedSuffix] = {}

    def __len__(self) -> int:
        return len(self._prefixes) + len(self._suffixes)

    def forget(self) -> None:
        """Apps, keys or secrets have changed."""
        self._prefixes.clear()
        self._suffixes.clear()

    def forget_user(self, app_id: str, user_id: str) -> None:
        """A credential of this user has changed."""
        theirs = [
            first
            for first, prefix in self._prefixes.items()
            if prefix.user_id == user_id and prefix.app.app_id == app_id
        ]
        for first in theirs:
            del self._prefixes[first]

    def answer(self, data: bytes) -> bytes | None:
        """The answer to a cached request that passes; None, with nothing done, for one that must be parsed."""
        # From the right it is the shorter way.
        first, _, rest = data.rpartition(_HOST_LINE)
        before, _, rest = rest.rpartition(_URI_LINE)
        target, _, after = rest.partition(b"\r")
        prefix = self._prefixes.get(first)
        suffix = self._suffixes.get((before, after))
        if prefix is None or suffix is None:
            return None
        app, method, from_plugin = suffix
        if prefix.app is not app or len(data) > MAX_BYTES or is_plain(target) is None:
            return None
        now = self._clock()
        # Nearly every path is covered by no rule: one comparison in C for all rules.
        if from_plugin or prefix.user_id is None or target.lower().startswith(app.paid_path_prefixes):
            return self._decide(prefix, method, target, now, from_plugin, False)
        if prefix.version == self._table.version and prefix.since <= now < prefix.valid_until:
            prefix.counter.value += 1
            return prefix.response
        return self._decide(prefix, method, target, now, False, True)

    def _decide(
        self, prefix: _CachedPrefix, method: str, target: bytes, now: float, from_plugin: bool, keep: bool
    ) -> bytes | None:
        """`keep`: every user may open this path, so the response is the user's next one, too."""
        if now >= prefix.until:
            return None
        app, user_id, tier_id = prefix.app, prefix.user_id, ""
        if user_id is not None:
            tier_id = self._table.tier_of(app.app_id, user_id, "")
            if not tier_id and self._report_if_new(app.app_id, user_id) is not None:
                return None
        decision = app.access.policy.decide(prefix.authentication, tier_id, method, plain_path(target))
        if not isinstance(decision, Allow):
            return None
        # A plain path is none of the gate's own, so the plugin may keep the response for its class.
        response, counter, valid_until = self._responses.make(
            app, decision, prefix.authentication, prefix.user_lines, now, from_plugin
        )
        if keep and tier_id:  # a user who is not in the table is reported each time if need be
            prefix.version, prefix.since = self._table.version, now
            prefix.valid_until = min(prefix.until, valid_until)
            prefix.response, prefix.counter = response, counter
        counter.value += 1
        return response

    def add(self, data: bytes, app: PreparedApp, method: str, authentication: AuthenticatedUser | Anonymous) -> None:
        """`data` passed the full parser: one GET with the gate's secret, sent for `authentication` to `app`."""
        if len(data) > MAX_BYTES or data.find(_END) != len(data) - len(_END) or not _has_whole_lines(data):
            return
        first, host_line, rest = data.rpartition(_HOST_LINE)
        before, uri_line, rest = rest.rpartition(_URI_LINE)
        _, _, after = rest.partition(b"\r")
        # Both as Traefik writes them, or `answer` would take another header for the path.
        if not (host_line and uri_line):
            return
        suffix_names, names = _names(data[len(first) + 1 :]), _names(first)
        if not _is_valid_suffix(suffix_names) or not _NOT_IN_PREFIX.isdisjoint(names):
            return
        if len(names) > _MAX_PREFIX_HEADERS:
            return
        if len(self._prefixes) >= MAX_PREFIXES:
            self._prefixes.clear()
        if len(self._suffixes) >= MAX_SUFFIXES:
            self._suffixes.clear()
        self._prefixes[first] = _CachedPrefix(app, authentication)
        self._suffixes[before, after] = app, method, PLUGIN.lower() in suffix_names


def _has_whole_lines(data: bytes) -> bool:
    """Every line ends in CR LF, and neither occurs elsewhere: every parser splits the same lines."""
    return data.count(b"\r") == data.count(b"\n") == data.count(b"\r\n")


def _is_valid_suffix(names: list[bytes]) -> bool:
    return len(names) == len(set(names)) and _REQUIRED_HEADERS <= set(names) <= SUFFIX_HEADERS


def _names(lines: bytes) -> list[bytes]:
    return [line.partition(b":")[0].lower() for line in lines.removesuffix(_END).split(b"\r\n")]
