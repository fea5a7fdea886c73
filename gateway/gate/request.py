"""The few headers of a request that the gate reads, by the name that Go gives them."""

from __future__ import annotations

from collections.abc import Iterable

Headers = dict[bytes, bytes]
"""Canonical name → value. A header that came more than once has its values joined by a line feed, which no value can
hold, so that whatever compares it finds it wrong."""

GATE = b"X-Sk-Gate"
HOST = b"X-Forwarded-Host"
URI = b"X-Forwarded-Uri"
METHOD = b"X-Forwarded-Method"
AUTHORIZATION = b"Authorization"
COOKIE = b"Cookie"
API_KEY = b"X-Api-Key"
ACCEPT = b"Accept"
FETCH_MODE = b"Sec-Fetch-Mode"
ORIGIN = b"Origin"
ASKED_METHOD = b"Access-Control-Request-Method"
PLUGIN = b"X-Sk-Plugin"

_READ = (GATE, HOST, URI, METHOD, AUTHORIZATION, COOKIE, API_KEY, ACCEPT, FETCH_MODE, ORIGIN, ASKED_METHOD, PLUGIN)
# A body is no business of the gate's; the length decides whether there is one.
LENGTH = b"Content-Length"
ENCODING = b"Transfer-Encoding"


def canonical_names(more: Iterable[str] = ()) -> dict[bytes, bytes]:
    """Every header that is read, in lower case → as it is kept. `more` are those in which identity kinds look."""
    names = (*_READ, LENGTH, ENCODING, *(name.encode("ascii") for name in more))
    return {name.lower(): name for name in names}
