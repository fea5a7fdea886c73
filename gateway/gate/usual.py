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

from gateway.access.paths import is_plain, plain_path
from gateway.access.policy import Allow
from gateway.access.table import TierTable
from gateway.access.who import Anonymous, Known
from gateway.gate.allowed import allowed, last_lines
from gateway.gate.assertions import RENEW_SECONDS_LEFT
from gateway.gate.keeping import Keeping
from gateway.gate.prepared import PreparedApp
from gateway.gate.reader import MAX_HEADERS
from gateway.gate.request import HOST, PLUGIN, URI

MAX_CALLERS = 8192  # of 2 kB or so each
MAX_FRAMES = 1024
MAX_BYTES = 8192

_HOST_LINE = b"\n" + HOST + b": "
_URI_LINE = b"\n" + URI + b": "
_END = b"\r\n\r\n"
_NEEDED_NAMES = frozenset({b"x-forwarded-host", b"x-forwarded-method", b"x-forwarded-uri", b"x-sk-gate"})
# All headers that may stand from `X-Forwarded-Host` on, each once; none of them says who is asking.
_FRAME_NAMES = _NEEDED_NAMES | {
    b"x-forwarded-port", b"x-forwarded-proto", b"x-forwarded-server", b"accept-encoding", b"x-real-ip", PLUGIN.lower(),
}  # fmt: skip
# What may not stand before it: one of those, or what tells where a request or its connection ends.
_NOT_OF_CALLERS = _FRAME_NAMES | {
    b"connection", b"proxy-connection", b"upgrade", b"content-length", b"transfer-encoding",
}  # fmt: skip

# With any frame after it, such a part is no request with too many headers.
_MAX_NAMES = MAX_HEADERS - len(_FRAME_NAMES)


class _Caller:
    """The first part: somebody's browser or program, asking for one app. `who` it is holds until `until`, an epoch
    second; `end` ends an answer that names them.

    `answer` is the last one for a path that is open to everybody known. It is good from `since` to `good_until`, while
    the table has the version that it was made from.
    """

    __slots__ = ("answer", "app", "end", "good_until", "passed", "since", "until", "user_id", "version", "who")

    def __init__(self, app: PreparedApp, who: Known | Anonymous) -> None:
        self.app = app
        self.who = who
        known = who if isinstance(who, Known) else None
        until = None if known is None else known.credential_expires_at
        self.user_id = None if known is None else known.user_id
        self.until = math.inf if until is None else until
        self.end = last_lines(self.user_id)
        self.version = -1
        self.since = self.good_until = 0.0
        self.passed = app.first_pass[1]
        self.answer = b""


# The rest but for the path: the gate's secret, one of the app's hosts, a method, and whether the plugin asks.
_Frame = tuple[PreparedApp, str, bool]


class Usual:
    """The parts that are known, for as long as nothing changes that they were judged by.

    `meet(app_id, user_id)` is told of a person who is not in the table; not None: their requests wait.
    """

    def __init__(
        self, table: TierTable, meet: Callable[[str, str], object], keeping: Keeping, clock: Callable[[], float]
    ) -> None:
        self._table = table
        self._meet = meet
        self._keeping = keeping
        self._clock = clock
        self._callers: dict[bytes, _Caller] = {}
        self._frames: dict[tuple[bytes, bytes], _Frame] = {}

    def __len__(self) -> int:
        return len(self._callers) + len(self._frames)

    def forget(self) -> None:
        """Read everything with care again: apps, keys or secrets have changed."""
        self._callers.clear()
        self._frames.clear()

    def forget_user(self, app_id: str, user_id: str) -> None:
        """Read with care again whatever this person sends to this app."""
        theirs = [
            first
            for first, caller in self._callers.items()
            if caller.user_id == user_id and caller.app.app_id == app_id
        ]
        for first in theirs:
            del self._callers[first]

    def answer(self, data: bytes) -> bytes | None:
        """The answer to a usual request that passes; None, with nothing done, for what must be read with care."""
        # From the right it is the shorter way.
        first, _, rest = data.rpartition(_HOST_LINE)
        before, _, rest = rest.rpartition(_URI_LINE)
        target, _, after = rest.partition(b"\r")
        caller = self._callers.get(first)
        frame = self._frames.get((before, after))
        if caller is None or frame is None:
            return None
        app, method, keeps = frame
        if caller.app is not app or len(data) > MAX_BYTES or is_plain(target) is None:
            return None
        now = self._clock()
        # Nearly every request is for a path that no rule asks more for: one comparison in C for all the rules.
        if keeps or caller.user_id is None or target.lower().startswith(app.paid_starts):
            return self._decide(caller, method, keeps, target, now)
        if caller.version == self._table.version and caller.since <= now < caller.good_until:
            caller.passed.value += 1
            return caller.answer
        return self._pass(caller, caller.user_id, now)

    def _pass(self, caller: _Caller, user_id: str, now: float) -> bytes | None:
        """Let somebody known through, and keep the answer for as long as it is the same."""
        if now >= caller.until:
            return None
        app = caller.app
        tier_id = self._tier_of(app.app_id, user_id)
        if tier_id is None:
            return None
        start, caller.passed, tier = app.passes.get(tier_id, app.first_pass)
        good_until = caller.until
        if app.assertions is not None:
            line, expires_at = app.assertions.current(tier, user_id, int(now))
            start += line
            good_until = min(good_until, expires_at - RENEW_SECONDS_LEFT)
        # Whoever is not in the table is told of, each time if need be.
        caller.version = self._table.version if tier_id else -1
        caller.since, caller.good_until, caller.answer = now, good_until, start + caller.end
        caller.passed.value += 1
        return caller.answer

    def _decide(self, caller: _Caller, method: str, keeps: bool, target: bytes, now: float) -> bytes | None:
        if now >= caller.until:
            return None
        app, who, user_id = caller.app, caller.who, caller.user_id
        tier_id = "" if user_id is None else self._tier_of(app.app_id, user_id)
        if tier_id is None:
            return None
        decision = app.access.policy.decide(who, tier_id, method, plain_path(target))
        if not isinstance(decision, Allow):
            return None
        answer = allowed(app, decision, user_id, caller.end, now)
        # A plain path that is none of ours has a class.
        return self._keeping.to_keep(answer, app, decision, who, int(now)) if keeps else answer

    def _tier_of(self, app_id: str, user_id: str) -> str | None:
        """ "" for a user who is not in the table; None while their requests wait, which is not done here."""
        tier_id = self._table.tier_of(app_id, user_id, "")
        return None if not tier_id and self._meet(app_id, user_id) is not None else tier_id

    def remember(self, data: bytes, app: PreparedApp, method: str, who: Known | Anonymous) -> None:
        """`data` was read with care: a GET of `who` for `app` with the gate's secret, and nothing after it."""
        if len(data) > MAX_BYTES or data.find(_END) != len(data) - len(_END) or not _has_whole_lines(data):
            return
        first, host_line, rest = data.rpartition(_HOST_LINE)
        before, uri_line, rest = rest.rpartition(_URI_LINE)
        _, _, after = rest.partition(b"\r")
        # Both as Traefik writes them, or `answer` would take something else for the path.
        if not (host_line and uri_line):
            return
        frame_names, names = _names(data[len(first) + 1 :]), _names(first)
        if not _is_frame(frame_names) or not _NOT_OF_CALLERS.isdisjoint(names) or len(names) > _MAX_NAMES:
            return
        if len(self._callers) >= MAX_CALLERS:
            self._callers.clear()
        if len(self._frames) >= MAX_FRAMES:
            self._frames.clear()
        self._callers[first] = _Caller(app, who)
        self._frames[before, after] = app, method, PLUGIN.lower() in frame_names


def _has_whole_lines(data: bytes) -> bool:
    """Every line ends in CR LF, and neither stands anywhere else: all readers see the same lines."""
    return data.count(b"\r") == data.count(b"\n") == data.count(b"\r\n")


def _is_frame(names: list[bytes]) -> bool:
    return len(names) == len(set(names)) and _NEEDED_NAMES <= set(names) <= _FRAME_NAMES


def _names(lines: bytes) -> list[bytes]:
    return [line.partition(b":")[0].lower() for line in lines.removesuffix(_END).split(b"\r\n")]
