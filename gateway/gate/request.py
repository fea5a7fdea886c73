"""The few headers of a request that the gate reads, by the name that Go gives them."""

from __future__ import annotations

import re
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
REQUESTED_METHOD = b"Access-Control-Request-Method"
PLUGIN = b"X-Sk-Plugin"

_READ = (GATE, HOST, URI, METHOD, AUTHORIZATION, COOKIE, API_KEY, ACCEPT, FETCH_MODE, ORIGIN, REQUESTED_METHOD, PLUGIN)
# A body is no business of the gate's; the length decides whether there is one.
LENGTH = b"Content-Length"
ENCODING = b"Transfer-Encoding"


# Methods are case-sensitive, but Django, Werkzeug and Symfony take `post` for POST, where a rule for POST would not.
_METHOD = re.compile(rb"[A-Z-]{1,32}")
_COMMON_METHODS = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}


def canonical_names(more: Iterable[str] = ()) -> dict[bytes, bytes]:
    """Every header that is read, in lower case → as it is kept. `more` are those in which identity kinds look."""
    names = (*_READ, LENGTH, ENCODING, *(name.encode("ascii") for name in more))
    return {name.lower(): name for name in names}


def method_name(method: bytes | None) -> str | None:
    """A usual method or one of an app's own, such as WebDAV's; None if it is no method at all."""
    common_method = _COMMON_METHODS.get(method or b"")
    if common_method is not None:
        return common_method
    return method.decode("ascii") if method is not None and _METHOD.fullmatch(method) else None
