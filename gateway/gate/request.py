"""The few headers of a request that the gate reads, by the name that Go gives them."""

from __future__ import annotations

import re
from collections.abc import Iterable

Headers = dict[bytes, bytes]
"""Canonical name → value. The values of a repeated header are joined by a line feed, which no value can hold, so no
comparison with it succeeds."""

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
# The gate accepts no body; these say whether there is one.
LENGTH = b"Content-Length"
ENCODING = b"Transfer-Encoding"


# Methods are case-sensitive, but Django, Werkzeug and Symfony read `post` as POST, which a rule for POST would miss.
_METHOD = re.compile(rb"[A-Z-]{1,32}")
_COMMON_METHODS = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}


def canonical_names(more: Iterable[str] = ()) -> dict[bytes, bytes]:
    """Every header that is read: lower case → canonical name. `more` are those of the identity kinds."""
    names = (*_READ, LENGTH, ENCODING, *(name.encode("ascii") for name in more))
    return {name.lower(): name for name in names}


def method_name(method: bytes | None) -> str | None:
    """A standard method or an extension such as WebDAV's; None if it is not a method."""
    common_method = _COMMON_METHODS.get(method or b"")
    if common_method is not None:
        return common_method
    return method.decode("ascii") if method is not None and _METHOD.fullmatch(method) else None
