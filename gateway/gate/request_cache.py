"""Usual requests, recognised by their bytes instead of being read again.

Two calls of one Traefik hardly differ. Go writes headers in alphabetical order, so whatever depends on the caller (who,
from where, what they accept) comes first, up to `X-Forwarded-Host`; from there on only the path is not the same each
time. Once a request was read with care both parts are remembered, and a request made of two known parts needs no
parser, no digest of its token and no look at a header: a third of the work.

This is exact, not a guess. Each part is whole lines of a request that the `Reader` took, HTTP/1.1 is read line by line,
neither part holds a header that changes how other lines are read, the path between them is plain, and what stands
before them is written as Traefik writes it. `bench/request_cache.py` compares it with reading for mutated requests.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from gateway.access.authentication import Anonymous, AuthenticatedUser
from gateway.access.paths import is_plain, plain_path
from gateway.access.policy import Allow
from gateway.access.table import TierTable
from gateway.gate.allow_response import allow_response, user_header_lines
from gateway.gate.assertions import RENEW_SECONDS_LEFT
from gateway.gate.plugin_caching import PluginCaching
from gateway.gate.prepared_app import PreparedApp
from gateway.gate.reader import MAX_HEADERS
from gateway.gate.request import HOST, PLUGIN, URI

MAX_PREFIXES = 8192  # of 2 kB or so each
MAX_SUFFIXES = 1024
MAX_BYTES = 8192

_HOST_LINE = b"\n" + HOST + b": "
_URI_LINE = b"\n" + URI + b": "
_END = b"\r\n\r\n"
_REQUIRED_HEADERS = frozenset({b"x-forwarded-host", b"x-forwarded-method", b"x-forwarded-uri", b"x-sk-gate"})
# All headers that may stand from `X-Forwarded-Host` on, each once; none of them says who is asking.
_SUFFIX_HEADERS = _REQUIRED_HEADERS | {
    b"x-forwarded-port", b"x-forwarded-proto", b"x-forwarded-server", b"accept-encoding", b"x-real-ip", PLUGIN.lower(),
}  # fmt: skip
# What may not stand before it: one of those, or what tells where a request or its connection ends.
_NOT_IN_PREFIX = _SUFFIX_HEADERS | {
    b"connection", b"proxy-connection", b"upgrade", b"content-length", b"transfer-encoding",
}  # fmt: skip

# With any frame after it, such a part is no request with too many headers.
_MAX_NAMES = MAX_HEADERS - len(_SUFFIX_HEADERS)


class _CachedPrefix:
    """The prefix of a client's requests to one app. `authentication` is valid until `until`, an epoch second; `end` is
    the end of an answer that names the user.

    `answer` is the last one for a path that is open to everybody known. It is good from `since` to `valid_until`, while
    the table has the version that it was made from.
    """

    __slots__ = (
        "answer",
        "app",
        "authentication",
        "end",
        "passed",
        "since",
        "until",
        "user_id",
        "valid_until",
        "version",
    )

    def __init__(self, app: PreparedApp, authentication: AuthenticatedUser | Anonymous) -> None:
        self.app = app
        self.authentication = authentication
        known = authentication if isinstance(authentication, AuthenticatedUser) else None
        until = None if known is None else known.credential_expires_at
        self.user_id = None if known is None else known.user_id
        self.until = math.inf if until is None else until
        self.end = user_header_lines(self.user_id)
        self.version = -1
        self.since = self.valid_until = 0.0
        self.passed = app.default_tier_response[1]
        self.answer = b""


# The rest but for the path: the gate's secret, one of the app's hosts, a method, and whether the plugin asks.
_CachedSuffix = tuple[PreparedApp, str, bool]


class RequestCache:
    """The parts that are known, for as long as nothing changes that they were judged by.

    `report_if_new(app_id, user_id)` is told of a person who is not in the table; not None: their requests wait.
    """

    def __init__(
        self,
        table: TierTable,
        report_if_new: Callable[[str, str], object],
        plugin_caching: PluginCaching,
        clock: Callable[[], float],
    ) -> None:
        self._table = table
        self._report_if_new = report_if_new
        self._plugin_caching = plugin_caching
        self._clock = clock
        self._prefixes: dict[bytes, _CachedPrefix] = {}
        self._suffixes: dict[tuple[bytes, bytes], _CachedSuffix] = {}

    def __len__(self) -> int:
        return len(self._prefixes) + len(self._suffixes)

    def forget(self) -> None:
        """Read everything with care again: apps, keys or secrets have changed."""
        self._prefixes.clear()
        self._suffixes.clear()

    def forget_user(self, app_id: str, user_id: str) -> None:
        """Read with care again whatever this person sends to this app."""
        theirs = [
            first
            for first, prefix in self._prefixes.items()
            if prefix.user_id == user_id and prefix.app.app_id == app_id
        ]
        for first in theirs:
            del self._prefixes[first]

    def answer(self, data: bytes) -> bytes | None:
        """The answer to a usual request that passes; None, with nothing done, for what must be read with care."""
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
        # Nearly every request is for a path that no rule asks more for: one comparison in C for all the rules.
        if from_plugin or prefix.user_id is None or target.lower().startswith(app.paid_path_prefixes):
            return self._decide(prefix, method, from_plugin, target, now)
        if prefix.version == self._table.version and prefix.since <= now < prefix.valid_until:
            prefix.passed.value += 1
            return prefix.answer
        return self._pass(prefix, prefix.user_id, now)

    def _pass(self, prefix: _CachedPrefix, user_id: str, now: float) -> bytes | None:
        """Let somebody known through, and keep the answer for as long as it is the same."""
        if now >= prefix.until:
            return None
        app = prefix.app
        tier_id = self._tier_of(app.app_id, user_id)
        if tier_id is None:
            return None
        start, prefix.passed, tier = app.passes.get(tier_id, app.default_tier_response)
        valid_until = prefix.until
        if app.assertions is not None:
            line, expires_at = app.assertions.current(tier, user_id, int(now))
            start += line
            valid_until = min(valid_until, expires_at - RENEW_SECONDS_LEFT)
        # Whoever is not in the table is told of, each time if need be.
        prefix.version = self._table.version if tier_id else -1
        prefix.since, prefix.valid_until, prefix.answer = now, valid_until, start + prefix.end
        prefix.passed.value += 1
        return prefix.answer

    def _decide(self, prefix: _CachedPrefix, method: str, from_plugin: bool, target: bytes, now: float) -> bytes | None:
        if now >= prefix.until:
            return None
        app, authentication, user_id = prefix.app, prefix.authentication, prefix.user_id
        tier_id = "" if user_id is None else self._tier_of(app.app_id, user_id)
        if tier_id is None:
            return None
        decision = app.access.policy.decide(authentication, tier_id, method, plain_path(target))
        if not isinstance(decision, Allow):
            return None
        answer = allow_response(app, decision, user_id, prefix.end, now)
        # A plain path that is none of ours has a class.
        return (
            self._plugin_caching.with_keep_header(answer, app, decision, authentication, int(now))
            if from_plugin
            else answer
        )

    def _tier_of(self, app_id: str, user_id: str) -> str | None:
        """ "" for a user who is not in the table; None while their requests wait, which is not done here."""
        tier_id = self._table.tier_of(app_id, user_id, "")
        return None if not tier_id and self._report_if_new(app_id, user_id) is not None else tier_id

    def remember(
        self, data: bytes, app: PreparedApp, method: str, authentication: AuthenticatedUser | Anonymous
    ) -> None:
        """`data` passed the full parser: one GET of `authentication` for `app` with the gate's secret."""
        if len(data) > MAX_BYTES or data.find(_END) != len(data) - len(_END) or not _has_whole_lines(data):
            return
        first, host_line, rest = data.rpartition(_HOST_LINE)
        before, uri_line, rest = rest.rpartition(_URI_LINE)
        _, _, after = rest.partition(b"\r")
        # Both as Traefik writes them, or `answer` would take something else for the path.
        if not (host_line and uri_line):
            return
        frame_names, names = _names(data[len(first) + 1 :]), _names(first)
        if not _is_valid_suffix(frame_names) or not _NOT_IN_PREFIX.isdisjoint(names) or len(names) > _MAX_NAMES:
            return
        if len(self._prefixes) >= MAX_PREFIXES:
            self._prefixes.clear()
        if len(self._suffixes) >= MAX_SUFFIXES:
            self._suffixes.clear()
        self._prefixes[first] = _CachedPrefix(app, authentication)
        self._suffixes[before, after] = app, method, PLUGIN.lower() in frame_names


def _has_whole_lines(data: bytes) -> bool:
    """Every line ends in CR LF, and neither stands anywhere else: all readers see the same lines."""
    return data.count(b"\r") == data.count(b"\n") == data.count(b"\r\n")


def _is_valid_suffix(names: list[bytes]) -> bool:
    return len(names) == len(set(names)) and _REQUIRED_HEADERS <= set(names) <= _SUFFIX_HEADERS


def _names(lines: bytes) -> list[bytes]:
    return [line.partition(b":")[0].lower() for line in lines.removesuffix(_END).split(b"\r\n")]
